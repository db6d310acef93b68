"""Routes, rules and static addresses in keepalived's words, as 2.2.7 has written these lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from vrrpd.dump import items, roads
from vrrpd.model.load import Model, load

HERE = Path(__file__).parent / "dump"


def pairs(keyword: str) -> dict[str, str]:
    """Each line as it is configured, and below it as keepalived writes it."""
    lines = (HERE / f"{keyword}.txt").read_text().splitlines()
    return dict(zip(lines[::2], map(str.strip, lines[1::2])))


def model(keyword: str) -> Model:
    text = "\n".join(("track_group TG {", "group { VI_1 }", "}", f"{keyword} {{", *pairs(keyword), "}"))
    instance = "\nvrrp_instance VI_1 {\ninterface eth1\nvirtual_router_id 51\nvirtual_ipaddress {\n10.0.0.9/24\n}\n}\n"
    loaded = load("test.conf", node_name="node1", text=text + instance)
    errors = [found for found in loaded.diagnostics if found.severity != "warning"]
    assert not errors
    assert loaded.model is not None
    return loaded.model


def test_routes() -> None:
    found = [roads.route(static.entry, static.group) for static in model("static_routes").statics]
    assert found == list(pairs("static_routes").values())


def test_rules() -> None:
    found = [roads.rule(static.entry, static.group) for static in model("static_rules").statics]
    assert found == list(pairs("static_rules").values())


@pytest.mark.parametrize("missing", [False, True])
def test_static_addresses(missing: bool) -> None:
    loaded = model("static_ipaddress")
    first = loaded.statics[0].entry.text
    lacking = {"what": f"static address {first}", "why": "there is no eth1", "since": 0.0}
    status = {"missing": [lacking] if missing else []}
    found = [line.strip() for line in items.addresses(loaded, status)]
    first_line, *others = pairs("static_ipaddress").values()
    assert found == [f"{first_line}{'' if missing else ' set'}", *(f"{line} set" for line in others)]
    assert list(items.track_groups(loaded)) == [
        " Static Track Group = TG",
        "   VRRP member instances :",
        "     VI_1",
    ]
