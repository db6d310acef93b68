"""From the inventory through the role's template to the daemon's own reader: what is written is what is meant."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import jinja2
import pytest
from ansible.module_utils.vrrpd_lines import Findings, lines_of, places, secrets_of
from ansible.module_utils.vrrpd_mask import SECRETS, filled
from ansible.module_utils.vrrpd_planning import Plan, plan

from vrrpd.conf.expand import Reader
from vrrpd.conf.schema import EACH, FIRST, Block
from vrrpd.conf.source import Problems
from vrrpd.conf.tree import Statement, parse
from vrrpd.model.blocks import BLOCKS, TOP
from vrrpd.model.load import load

from .conftest import ROOT

VI_1 = {
    "interface": "render0",
    "virtual_router_id": 51,
    "authentication": {"auth_type": "PASS", "auth_pass": "s3cret"},
    "virtual_ipaddress": ["192.0.2.100/24 dev render0 label render0:1", "192.0.2.101"],
    "notify_master": "systemctl restart iscsitarget",
}


def render(made: Plan, host: str) -> str:
    """As Ansible's template lookup does it."""
    folder = ROOT / "roles/vrrpd/templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), trim_blocks=True, keep_trailing_newline=True
    )
    text = environment.get_template("vrrpd.conf.j2").render(__vrrpd_plan={"hosts": made.hosts}, inventory_hostname=host)
    return str(text)


def planned(keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any], **variables: Any) -> Plan:
    shared = {"vrrpd_instances": {"VI_1": VI_1}, **variables}
    nodes = {name: {**shared, "ansible_host": f"192.0.2.{11 + rank}"} for rank, name in enumerate(("lb1", "lb2"))}
    return plan(nodes, {"vrrp": list(nodes)}, keywords, specs, defaults)


def test_the_file_is_readable(keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]) -> None:
    made = planned(
        keywords,
        specs,
        defaults,
        vrrpd_global_defs={"smtp_server": "192.0.2.1 25", "notification_email": ["a@b.example"]},
    )
    assert made.errors == []
    assert render(made, "lb2") == (
        """\
# Managed by Ansible (vrrpd): changes made here are lost, change the inventory instead.

global_defs {
    notification_email {
        a@b.example
    }
    smtp_server 192.0.2.1 25
}

vrrp_instance VI_1 {
    interface render0
    virtual_router_id 51
    state BACKUP
    priority 190
    virtual_ipaddress {
        192.0.2.100/24 dev render0 label render0:1
        192.0.2.101
    }
    authentication {
        auth_type PASS
        auth_pass @@VI_1.authentication.auth_pass@@
    }
    notify_master "systemctl restart iscsitarget"
}
"""
    )


def test_the_order_of_the_inventory_does_not_matter(
    keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]
) -> None:
    turned = {"VI_1": dict(reversed(VI_1.items()))}
    one, two = planned(keywords, specs, defaults), planned(keywords, specs, defaults, vrrpd_instances=turned)
    assert render(one, "lb1") == render(two, "lb1")


@pytest.mark.parametrize(
    "command",
    [
        "/bin/true",
        "systemctl restart iscsitarget",
        "/bin/sh -c 'echo \"quoted\" #no comment'",
        '/bin/sh -c "exit 3"',
        "/bin/echo 100% {braces} !bang",
        "/bin/echo back\\\\slash",
    ],
)
def test_a_script_arrives_as_it_was_written(
    command: str, keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any], tmp_path: Path
) -> None:
    made = planned(keywords, specs, defaults, vrrpd_instances={"VI_1": {**VI_1, "notify_master": command}})
    assert made.errors == []
    path = tmp_path / "vrrpd.conf"
    path.write_text(filled(render(made, "lb1"), secrets_of({"VI_1": VI_1}, {}, {})))
    loaded = load(str(path))
    assert loaded.model is not None, [diagnostic.message for diagnostic in loaded.diagnostics]
    script = loaded.model.vrrp_instances[0].notify_master
    assert script is not None
    assert list(script.argv) == shlex.split(command)


def inventory_of(block: Block, statements: list[Statement]) -> dict[str, Any]:
    """A file's statements as a user would write them in an inventory."""
    found: dict[str, Any] = {}
    for statement in statements:
        keyword, *words = statement.words
        row = block.keywords[keyword]
        if row.type.type in ("script", "arguments"):
            words = statement.quoted(1)
        if row.type.form in ("value", "flag"):
            words = words[: row.type.most]  # the rest is ignored with a warning
        inner = statement.block or []
        value: Any = inline(words) if words else True
        if row.type.form == "block":
            value = inventory_of(BLOCKS[row.type.block], inner)
        elif row.type.form == "list":
            value = [inline(item.words) for item in inner] or [inline(words)]
        if row.type.named:
            found.setdefault(keyword, {})[" ".join(words)] = value
        elif row.repeated == EACH and keyword in SECRETS:
            found.setdefault(keyword, []).append(" ".join(words))
        elif row.type.form == "list" or row.repeated == EACH:
            found.setdefault(keyword, []).extend(value if isinstance(value, list) else [value])
        elif row.type.form == "block" and isinstance(found.get(keyword), dict):
            found[keyword].update(value)
        elif row.repeated != FIRST or keyword not in found:
            found[keyword] = value
    return found


def inline(words: list[str]) -> str | list[str]:
    return words if len(words) > 1 else words[0]


FIXTURES = sorted((ROOT / "tests/conf/ok").glob("*.conf"))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_every_fixture_of_the_reader_can_be_written_as_an_inventory(
    path: Path, keywords: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every supported keyword stands in one of them (tests/conf/test_keywords.py)."""
    monkeypatch.chdir(path.parent)
    wanted = load(path.name, node_name="node1").model
    assert wanted is not None
    problems = Problems()
    written = inventory_of(BLOCKS[TOP], parse(Reader("node1", problems).read_file(path.name), problems))
    written = {keyword: value for keyword, value in written.items() if BLOCKS[TOP].keywords[keyword].supported}
    findings = Findings()
    blocks = lines_of("top", written, keywords, "", findings, ())
    assert [line for line in findings.errors if "cannot hold" not in line] == []
    secrets = {mark: f'"{secret}"' for mark, secret in secrets_of({}, {}, written).items()}
    made = Plan({"": {"blocks": blocks}}, {}, [], [], [])
    text = filled(render(made, ""), secrets)
    found = load(path.name, text=text, node_name="node1")
    assert found.model is not None, "".join(each.render() for each in found.diagnostics) + text
    assert dataclasses.replace(found.model, sha256=wanted.sha256) == wanted, text


def test_a_line_knows_the_variable_behind_it(
    keywords: dict[str, Any], specs: dict[str, Any], defaults: dict[str, Any]
) -> None:
    made = planned(keywords, specs, defaults, vrrpd_global_defs={"notification_email": ["a@b.example"]})
    blocks = made.hosts["lb1"]["blocks"]
    behind = [place for block in blocks for place in ("", *places([block]))]
    shown = dict(zip(render(made, "lb1").splitlines()[1:], behind, strict=True))
    assert shown["        a@b.example"] == "vrrpd_global_defs.notification_email"
    assert shown["vrrp_instance VI_1 {"] == "vrrpd_instances.VI_1"
    assert shown["    interface render0"] == "vrrpd_instances.VI_1.interface"
    assert shown["        auth_type PASS"] == "vrrpd_instances.VI_1.authentication.auth_type"
    assert shown["        192.0.2.101"] == "vrrpd_instances.VI_1.virtual_ipaddress"
