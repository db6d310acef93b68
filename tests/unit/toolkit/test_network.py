"""What systemd-networkd and NetworkManager are told of ours; that it helps, Molecule's scenario `rich` shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import vrrpd_network
from ansible.module_utils.vrrpd_network import for_neighbours, neighbours_files

from .test_deploy import archive, deploy, module, node  # noqa: F401  (fixtures)

NETWORKD, NETWORK_MANAGER = "usr/lib/systemd/systemd-networkd", "usr/sbin/NetworkManager"
CONF, MANAGER = "/etc/systemd/networkd.conf.d/60-vrrpd.conf", "/etc/NetworkManager/conf.d/60-vrrpd.conf"
UNMANAGED = "/etc/systemd/network/00-vrrpd.network"
KEEP = "/etc/systemd/network/10-lan.network.d/60-vrrpd.conf"
CONFIG = "vrrp_instance VI_1 {\n    interface eth0\n}\nstatic_routes {\n    default via 192.0.2.1 dev eth1\n}\n"


def put(root: Path, path: str, text: str = "") -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node with both; networkd has eth0 and eth2 by one file, eth1 by none."""
    put(tmp_path, NETWORKD)
    put(tmp_path, NETWORK_MANAGER)
    put(tmp_path, "/run/systemd/network/10-lan.network", "[Network]\nAddress=192.0.2.11/24\n")
    for index, file in (
        (2, "/run/systemd/network/10-lan.network"),
        (3, ""),
        (4, "/etc/systemd/network/20-dmz.network"),
    ):
        put(tmp_path, f"/run/systemd/netif/links/{index}", f"ADMIN_STATE=x\nNETWORK_FILE={file}\n" if file else "X=\n")
    names = [(1, "lo"), (2, "eth0"), (3, "eth1"), (4, "eth2")]
    monkeypatch.setattr(vrrpd_network.socket, "if_nameindex", lambda: names)
    return tmp_path


def test_the_interfaces_of_the_configuration_keep_what_is_not_networkd_s(host: Path) -> None:
    told = for_neighbours(str(host), CONFIG, ())
    assert sorted(told.files) == sorted([CONF, MANAGER, UNMANAGED, KEEP])
    assert told.files[KEEP] == "# Managed by Ansible (vrrpd).\n[Network]\nKeepConfiguration=static\n"
    assert "ManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n" in told.files[CONF]
    assert told.warnings == []
    assert "20-dmz.network" in str(for_neighbours(str(host), CONFIG + "track_interface {\n eth2\n}\n", ()).files)


def test_a_virtual_interface_that_networkd_has_taken_is_not_configured_by_us(host: Path) -> None:
    config = CONFIG + "use_vmac eth2\n"
    assert not any("20-dmz" in path for path in for_neighbours(str(host), config, ["eth2"]).files)


def test_a_virtual_interface_of_any_name_is_nobody_s(host: Path) -> None:
    told = for_neighbours(str(host), CONFIG, ["lan.52", "vrrp.51", "vrrp6.51", "back6"])
    assert told.files[UNMANAGED].endswith(
        "[Match]\nName=vrrp.* vrrp?.* vrrp??.* back6 lan.52\n\n[Link]\nUnmanaged=yes\n"
    )
    ours = ("vrrp.*", "vrrp?.*", "vrrp??.*", "back6", "lan.52")
    assert told.files[MANAGER].endswith(
        f"[keyfile]\nunmanaged-devices+={';'.join(f'interface-name:{name}' for name in ours)}\n"
    )


@pytest.mark.parametrize("said", ["yes", "static", "true"])
def test_what_the_administrator_says_is_enough(said: str, host: Path) -> None:
    put(host, "/etc/systemd/network/10-lan.network.d/90-mine.conf", f"[Network]\nKeepConfiguration={said}\n")
    told = for_neighbours(str(host), CONFIG, ())
    assert (KEEP in told.files, told.warnings) == (False, [])


def test_what_the_administrator_says_otherwise_stays_and_is_named(host: Path) -> None:
    put(host, "/run/systemd/network/10-lan.network", "[Network]\nKeepConfiguration = yes\nKeepConfiguration=dhcp\n")
    told = for_neighbours(str(host), CONFIG, ())
    assert KEEP not in told.files
    assert told.warnings == [
        "/run/systemd/network/10-lan.network has KeepConfiguration=dhcp, so systemd-networkd takes our addresses off"
        " eth0 when it configures it anew (vrrpd puts them back): static or yes would spare them"
    ]


def test_a_file_of_the_same_name_that_is_not_ours_is_not_removed(host: Path) -> None:
    for path, text in for_neighbours(str(host), CONFIG, ()).files.items():
        put(host, path, text)
    put(host, "/etc/systemd/network/99-x.network.d/60-vrrpd.conf", "[Network]\n")
    assert sorted(neighbours_files(str(host))) == sorted([CONF, MANAGER, UNMANAGED, KEEP])


def test_they_come_follow_and_go(deploy: Callable[..., dict[str, Any]], node: Path) -> None:  # noqa: F811
    """Only where a manager is installed; what is of no use any more is removed, with the folders."""
    deploy()
    assert list(neighbours_files(str(node))) == []
    put(node, NETWORKD)
    put(node, NETWORK_MANAGER)
    assert {diff["after_header"] for diff in deploy(check=True, archive=None)["diff"]} == {CONF, MANAGER, UNMANAGED}
    assert list(neighbours_files(str(node))) == []
    assert deploy(archive=None)["changed"] is True
    assert deploy(archive=None)["changed"] is False
    stale = put(node, KEEP, "# Managed by Ansible (vrrpd).\n[Network]\nKeepConfiguration=static\n")
    assert [diff["after_header"] for diff in deploy(archive=None, check=True)["diff"]] == [KEEP]
    assert [diff["after_header"] for diff in deploy(archive=None)["diff"]] == [KEEP]
    assert not stale.parent.exists()
    changed = deploy(archive=None, devices=["lan.52"])["diff"]
    assert {diff["after_header"] for diff in changed} == {UNMANAGED, MANAGER}
    deploy(state="absent")
    assert list(neighbours_files(str(node))) == []
    assert not (node / CONF.lstrip("/")).parent.exists()
    assert (node / UNMANAGED.lstrip("/")).parent.exists(), "a package's"
