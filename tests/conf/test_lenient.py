"""--lenient makes the repairs that keepalived makes: what a skipped or replaced value becomes."""

from __future__ import annotations

from typing import Any

import pytest

from vrrpd.model.load import load
from vrrpd.model.vrrp import Authentication, VrrpInstance

FILE = """vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {
        192.0.2.1/24
    }
    %s
}
"""


def instance(text: str) -> VrrpInstance:
    strict, lenient = (load("a.conf", text=text, node_name="node1", lenient=value) for value in (False, True))
    assert strict.model is None
    assert lenient.model
    assert [d.severity for d in lenient.diagnostics] == ["warning"] * len(lenient.diagnostics)
    return lenient.model.vrrp_instances[0]


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("priority 300", "priority", 100),
        ("priority high", "priority", 100),
        ("state master", "state", "BACKUP"),
        ("advert_int 0.4", "advert_int", 1.0),
        ("advert_int 1.5", "advert_int", 2.0),
        ("advert_int 300", "advert_int", 1.0),
        ("version 3\nadvert_int 41", "advert_int", 40.95),
        ("version 3\nadvert_int 0.1234567", "advert_int", 0.12),
        ("version 4", "version", 2),
        ("garp_master_repeat 0", "garp_master_repeat", 1),
        ("down_timer_adverts 101", "down_timer_adverts", 3),
        ("state MASTER\npriority 100\nnopreempt", "preempt", True),
        ("nopreempt\npreempt_delay 5", "preempt_delay", 0.0),
        ("unicast_src_ip 192.0.2.11", "unicast_peer", ()),
        ("mcast_src_ip fe80::1", "mcast_src_ip", None),
        (
            "authentication {\nauth_type PASS\nauth_pass 123456789\n}",
            "authentication",
            Authentication("PASS", b"12345678"),
        ),
        ("authentication {\nauth_type PASS\n}", "authentication", None),
        ("version 3\nauthentication {\nauth_type PASS\nauth_pass x\n}", "authentication", None),
        ("smtp_alert maybe", "smtp_alert", False),
        ("prioritty 7", "priority", 100),
    ],
)
def test_repair(line: str, field: str, value: Any) -> None:
    assert getattr(instance(FILE % line), field) == value


def test_first_notify_counts() -> None:
    script = instance(FILE % "notify_master /bin/true\nnotify_master /bin/false").notify_master
    assert script
    assert script.argv == ("/bin/true",)


def test_first_block_of_a_name_counts() -> None:
    text = FILE % "" + FILE.replace("51", "52") % ""
    found = load("a.conf", text=text, lenient=True).model
    assert found
    assert [one.virtual_router_id for one in found.vrrp_instances] == [51]


def test_addresses_that_do_not_fit_are_excluded_ones() -> None:
    text = FILE.replace("192.0.2.1/24", "~SEQ(A,1,2) ~SEQ(B,1,128) 10.0.${A}.${B}") % ""
    found = instance(text)
    assert (len(found.virtual_ipaddress), len(found.virtual_ipaddress_excluded)) == (255, 1)


def test_addresses_of_another_family_are_skipped() -> None:
    found = instance(FILE.replace("192.0.2.1/24", "192.0.2.1/24\n2001:db8::1") % "")
    assert [item.address for item in found.virtual_ipaddress] == [bytes([192, 0, 2, 1])]


@pytest.mark.parametrize("line", ["priority", "interface lo", "virtual_router_id"])
def test_what_keepalived_refuses_is_refused(line: str) -> None:
    loaded = load("a.conf", text=FILE % line, lenient=True)
    assert loaded.fatal
    assert loaded.model is None
