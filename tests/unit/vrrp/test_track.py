"""What an instance tracks without saying so."""

from __future__ import annotations

from pathlib import Path

from vrrpd.model.load import load
from vrrpd.vrrp.track import tracks

TEXT = """
vrrp_instance VI_1 {{
    state BACKUP
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {{
        10.0.0.100/24
        10.1.0.100/24 dev {address}
    }}
    {more}
}}
"""


def tracked(tmp_path: Path, address: str = "eth0", more: str = "") -> list[tuple[str, int]]:
    path = tmp_path / "vrrpd.conf"
    path.write_text(TEXT.format(address=address, more=more))
    loaded = load(str(path))
    assert loaded.model, [each.render() for each in loaded.diagnostics]
    return [(track.name, track.weight) for track in tracks(loaded.model.vrrp_instances[0])]


def test_the_interfaces_of_addresses_routes_and_rules_are_tracked(tmp_path: Path) -> None:
    """Observed with keepalived 2.2.7, weights or none beside it; a route over several ways needs none of them."""
    assert tracked(tmp_path) == []
    assert tracked(tmp_path, "eth1") == [("eth1", 0)]
    assert tracked(tmp_path, "eth1 no_track") == []
    assert tracked(tmp_path, more="virtual_ipaddress_excluded {\nfd00::1 dev eth2\n}") == [("eth2", 0)]
    assert tracked(tmp_path, more="virtual_routes {\n10.9.0.0/24 dev eth3\n}") == [("eth3", 0)]
    assert tracked(tmp_path, more="virtual_routes {\n10.9.0.0/24 dev eth3 no_track\n}") == []
    ways = "10.9.0.0/24 nexthop via 10.0.0.1 dev eth0 nexthop via 10.1.0.1 dev eth3"
    assert tracked(tmp_path, more=f"virtual_routes {{\n{ways}\n}}") == []
    rule = "from 10.1.0.0/24 table 100 iif eth4 preference 1000"
    assert tracked(tmp_path, more=f"virtual_rules {{\n{rule}\n}}") == [("eth4", 0)]


def test_an_interface_that_is_tracked_for_its_weight_is_needed_all_the_same(tmp_path: Path) -> None:
    weighted = "track_interface {\neth1 weight -10\n}"
    assert tracked(tmp_path, "eth1", weighted) == [("eth1", -10), ("eth1", 0)]
    assert tracked(tmp_path, "eth1", "track_interface {\neth1\n}") == [("eth1", 0)]


def test_of_a_virtual_interface_the_one_below_is_needed(tmp_path: Path) -> None:
    assert tracked(tmp_path, "eth1", "use_vmac\nuse_vmac_addr") == [("eth1", 0)]
    assert tracked(tmp_path, "eth0", "use_vmac") == []
