"""keepalived's dump files: golden texts (`--rewrite` writes them anew), and that writing them is safe in /tmp."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vrrpd import atomic, dump
from vrrpd.dump.data import as_data
from vrrpd.dump.interfaces import Link
from vrrpd.dump.statistics import numbers
from vrrpd.model.compiled import decode, encode
from vrrpd.model.load import Model, load

HERE = Path(__file__).parent / "dump"


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
def model() -> Iterator[Model]:
    loaded = load(str(HERE / "all.conf"), node_name="node1")
    assert loaded.model, loaded.diagnostics
    found = decode(encode(loaded.model))  # as the daemon has it
    assert found.global_defs.umask is not None
    former = os.umask(found.global_defs.umask)
    yield found
    os.umask(former)


def live(name: str, state: str, priority: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "priority": priority,
        "master_adver_int": 1.0,
        "master_down_interval": 3.609375,
        "source": "192.0.2.254",
        "last_transition": {"at": 1795863228.763235},
        "faults": [],
        "counters": {"advert_sent": 7, "become_master": 1},
        **more,
    }


STATUS = {
    "instances": [
        live("VI_1", "BACKUP", 103, master={"address": "192.0.2.253", "priority": 120}, master_adver_int=2.0),
        live("VI_2", "MASTER", 90),
        live("VI_3", "FAULT", 80, faults=["interface eth0 is down"], master_adver_int=0.5),
        live("VI_6", "BACKUP", 100, source="fe80::1", last_transition=None),
        live("VI_gone", "INIT", 100),
    ],
    "trackers": [
        {"kind": "script", "name": "check", "value": 0},
        {"kind": "file", "name": "file", "value": 7},
        {"kind": "process", "name": "process", "value": 1, "running": 2},
    ],
}


LINKS = {
    "lo": Link(1, "lo", 772, 0x49, mtu=65536, addresses=(b"\x7f\0\0\1",), sysctls=(("rp_filter", "0"),)),
    "eth0": Link(2, "eth0", 1, 0x11043, b"\2\0\0\0\0\1", b"\xff" * 6, 1500, addresses=(b"\xc0\0\2\xfe",)),
    "eth7": Link(3, "eth7", 1, 0x1002, b"\2\0\0\0\0\2", b"\xff" * 6, 1400, vrf="blue"),
}


def compare(name: str, found: str, rewrite: bool) -> None:
    if rewrite:
        (HERE / name).write_text(found)
    assert found == (HERE / name).read_text()
    assert "secret" not in found


def test_data(model: Model, rewrite: bool) -> None:
    compare("keepalived.data", as_data(model, STATUS, LINKS), rewrite)


def test_data_of_the_parent(model: Model, rewrite: bool) -> None:
    compare("keepalived_parent.data", dump.as_parent(model, STATUS), rewrite)


def test_a_link_whose_change_does_not_count_yet(model: Model) -> None:
    found = as_data(model, {**STATUS, "delayed": ["eth7"]}, LINKS)
    assert found.count("Delayed state change running = true") == 1
    assert found.index("Name = eth7") < found.index("Delayed state change running = true")


def test_stats(rewrite: bool) -> None:
    compare("keepalived.stats", dump.as_stats({"instances": STATUS["instances"][:2]}), rewrite)


def test_json_of_version_1_is_an_array_of_instances(model: Model, rewrite: bool) -> None:
    found = json.loads(dump.as_json(model, STATUS))
    compare("keepalived.json", json.dumps(found, indent=1) + "\n", rewrite)
    assert [entry["data"]["state"] for entry in found] == [1, 2, 3, 1]


def test_json_of_version_2_is_an_object(model: Model) -> None:
    found = json.loads(dump.as_json(model, STATUS, 2))
    assert found["vrrp"] == json.loads(dump.as_json(model, STATUS))
    assert found["track_process"] == [
        {
            "process": "cron",
            "parameters": "-f",
            "param_match": "exact",
            "min_processes": 1,
            "current_processes": 2,
            "have_quorum": True,
            "weight": 3,
            "terminate_delay": 0.5,
            "fork_delay": 0.5,
            "fork_delay_timer_running": False,
            "terminate_delay_timer_running": False,
            "full_command": False,
        }
    ]


def test_the_files_are_where_keepalived_has_them(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    assert paths(model) == [
        "/tmp/keepalived.data",
        "/tmp/keepalived_parent.data",
        "/tmp/keepalived.stats",
        "/tmp/keepalived.json",
    ]
    assert paths(model, "blue_one") == paths(model)  # data_use_instance is off


def paths(model: Model, tag: str = "") -> list[str]:
    return [dump.path_of(file, model, tag) for files in dump.KINDS.values() for file in files]


def test_instance_and_path_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    loaded = load(str(HERE / "all.conf"), node_name="node1").model
    assert loaded
    several = replace(loaded, global_defs=replace(loaded.global_defs, data_use_instance=True))
    assert paths(several, "blue_one") == [
        "/tmp/keepalived_blue_one.data",
        "/tmp/keepalived_parent_blue_one.data",
        "/tmp/keepalived_blue_one.stats",
        "/tmp/keepalived_blue_one.json",
    ]
    files = {"json_dump_file": "/run/state.json", "state_dump_file": "/run/state"}
    said = replace(several, global_defs=replace(several.global_defs, **files))
    assert paths(said, "blue_one")[:2] == ["/run/state", "/run/state_parent"]
    assert paths(said, "blue_one")[3] == "/run/state.json"


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "keepalived.json"
    victim.write_text("precious")
    path.symlink_to(victim)
    atomic.write(str(path), "new")
    assert victim.read_text() == "precious"
    assert path.read_text() == "new"
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["keepalived.json", "victim"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "keepalived.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        atomic.write(str(tmp_path / "keepalived.json"), "new")
    assert os.listdir(tmp_path) == ["keepalived.json"]


def test_what_ah_and_hmac_reject_is_counted_under_keepalived_names() -> None:
    counters = {"auth_failure": 0, "ah_missing": 1, "ah_invalid": 2, "ah_spi_err": 3, "ah_replay": 4}
    status = {"instances": [{"name": "VI_1", "counters": counters}]}
    assert "    Failure: 9\n" in dump.as_stats(status)
    stats = numbers({**counters, "auth_ext_stale": 5})
    assert (stats["auth_failure"], stats["auth_ext_stale"], "ah_replay" in stats) == (9, 5, False)
