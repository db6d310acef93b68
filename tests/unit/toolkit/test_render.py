"""From the inventory through the role's template to the daemon's own reader: what is written is what is meant."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import jinja2
import pytest
from ansible.module_utils.vrrpd_mask import filled
from ansible.module_utils.vrrpd_planning import Plan, plan, secrets_of

from vrrpd.model.load import load

from .conftest import ROOT

VI_1 = {
    "interface": "render0",
    "virtual_router_id": 51,
    "authentication": {"auth_type": "PASS", "auth_pass": "s3cret"},
    "virtual_ipaddress": ["192.0.2.100/24 dev render0 label render0:1", "192.0.2.101"],
    "notify_master": "systemctl restart iscsitarget",
}
SAMPLES: dict[str, Any] = {
    "interface": "render0",
    "integer": 2,
    "seconds": 3,
    "string": "a word or two",
    "script": "/bin/sh -c 'true #1'",
    "boolean": True,
    "flag": True,
    "address": "192.0.2.50",
    "addresses": ["192.0.2.110/24", "192.0.2.111"],
    "peers": ["192.0.2.12"],
}
VALUES: dict[str, Any] = {
    "virtual_router_id": 51,
    "mcast_dst_ip": "224.0.0.50",
    "vrrp_mcast_group4": "224.0.0.50",
    "vrrp_mcast_group6": "ff02::50",
    "include_check": "readable match",
    "dynamic_interfaces": True,
    "peer_path_key": "0123456789abcdef",
    "use_ipvlan": "ipvl.51 192.0.2.51",
    "garp_extra_if": "all 10",
    "vmac_garp_intvl": "all 10",
    "vrrp_garp_extra_if": "all 10",
    "vrrp_vmac_garp_intvl": "all 10",
}
# Adverts to the peers only: these want to know them.
UNICAST = {"unicast_src_ip": "192.0.2.11", "unicast_peer": ["192.0.2.12"]}
PATH = {"peer_path": ["10.9.0.12"], "peer_path_key": "0123456789abcdef"}


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
        auth_pass @@VI_1.auth_pass@@
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
    path.write_text(filled(render(made, "lb1"), secrets_of({"VI_1": VI_1}, {})))
    loaded = load(str(path))
    assert loaded.model is not None, [diagnostic.message for diagnostic in loaded.diagnostics]
    script = loaded.model.vrrp_instances[0].notify_master
    assert script is not None
    assert list(script.argv) == shlex.split(command)


def supported(block: str) -> list[tuple[str, str]]:
    from vrrpd.keywords import table

    rows = table()["blocks"][block]["keywords"]
    return [(block, name) for name, row in rows.items() if row["status"] == "supported" and row["form"] != "block"]


@pytest.mark.parametrize(("block", "keyword"), [*supported("vrrp_instance"), *supported("global_defs")])
def test_every_supported_keyword_is_written_so_that_the_reader_takes_it(
    block: str,
    keyword: str,
    keywords: dict[str, Any],
    specs: dict[str, Any],
    defaults: dict[str, Any],
    tmp_path: Path,
) -> None:
    row = keywords["blocks"][block]["keywords"][keyword]
    choice = row["choices"][0] if row.get("choices") else "word"
    value = VALUES.get(keyword, SAMPLES.get(row["type"], choice))
    value = [value] if row["form"] == "list" and not isinstance(value, list) else value
    instances: dict[str, Any] = {"VI_1": {**VI_1, "version": 3, "authentication": None}}
    global_defs: dict[str, Any] = {}
    if block == "vrrp_instance":
        if "unicast" in keyword:
            instances["VI_1"].update(UNICAST)
        if "peer_path" in keyword:
            instances["VI_1"].update(PATH)
        instances["VI_1"][keyword] = value
    else:
        global_defs[keyword] = value
    made = planned(keywords, specs, defaults, vrrpd_instances=instances, vrrpd_global_defs=global_defs)
    assert [line for line in made.errors if "priority" not in line] == []  # one priority for all is meant here
    text = render(made, "lb1")
    assert any(line.split()[:1] == [keyword] for line in text.splitlines()), text
    path = tmp_path / "vrrpd.conf"
    path.write_text(text)
    said = [
        diagnostic.message
        for diagnostic in load(str(path)).diagnostics
        if diagnostic.severity == "error" and "does not exist" not in diagnostic.message
    ]
    assert said == [], text
