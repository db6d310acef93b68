"""The ledger of virtual interfaces: what goes into its file and comes back; with the kernel in netns/test_vmac.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vrrpd import vmacs
from vrrpd.model.vmac import IPVLAN, Device

MACVLAN = Device("vrrp.51", "eth0", mac=bytes.fromhex("00005e000133"))
OTHER = Device("ipv.52", "eth1", IPVLAN, mode="private", address=bytes((10, 0, 0, 52)))


@pytest.mark.parametrize("device", [MACVLAN, OTHER], ids=["macvlan", "ipvlan"])
def test_a_device_survives_its_way_through_json(device: Device) -> None:
    assert vmacs.decode(json.loads(json.dumps(vmacs.encode(device)))) == device


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"devices": 1}', '{"devices": [["a"]], "sysctls": {}}'])
def test_a_damaged_file_is_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / vmacs.FILE
    path.write_text(content)
    path.chmod(0o600)
    devices = vmacs.Devices(str(tmp_path), lambda level, message: pytest.fail(message))
    devices.load()
    assert not devices.names


def test_nothing_wanted_touches_nothing(tmp_path: Path) -> None:
    devices = vmacs.Devices(str(tmp_path), lambda level, message: pytest.fail(message))
    assert devices.fit([]) == {}
    devices.undo()
    assert not list(tmp_path.iterdir())
