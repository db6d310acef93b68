"""One daemon for the keywords that need a machine and no test of their own: files, names, buffers, scripts, pipes."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import Lab, Ours, config, instance, receive_buffers

VIP, PEERS, MAC = "10.0.0.100", "10.0.0.150", "10.0.0.160"


@pytest.fixture
def alone() -> Iterator[Lab]:
    with Lab("a") as made:
        yield made


def settings(folder: Path) -> tuple[str, ...]:
    return (
        "script_user root",
        f"state_dump_file {folder}/state",
        f"stats_dump_file {folder}/stats",
        f"json_dump_file {folder}/json",
        "json_version 2",
        f"vrrp_notify_fifo {folder}/fifo",
        f"vrrp_notify_fifo_script \"/bin/sh -c 'exec cat $0 >>{folder}/lines'\"",
        "vrrp_netlink_cmd_rcv_bufs 3000000",
        "vrrp_netlink_monitor_rcv_bufs 9000000",
        f"reload_time_file {folder}/time",
        "reload_repeat",
        "default_interface dflt",
        f"iproute_usr_dir {folder}/usr",
        f"iproute_etc_dir {folder}/etc",
        "vmac_addr_prefix more",
    )


def text(folder: Path, peer: str) -> str:
    def note(words: str) -> str:
        return f"\"/bin/sh -c 'echo {words} >>{folder}/notes'\""

    group = (
        f"notify_master {note('G master')}",
        f"notify_backup {note('G backup')}",
        f"notify_fault {note('G fault')}",
        "notify_priority_changes",
        "sync_group_tracking_weight",
    )
    return config(
        "static_ipaddress {\n10.9.9.9/32\n}",
        "vrrp_track_process p {\nprocess no-such\nweight 1\n}",
        f"track_file number {{\nfile {folder}/number\nweight 1\n}}",
        "\n".join(("vrrp_sync_group G {", "group {\nVI_1\nVI_2\n}", *group, "}")),
        instance(
            (f"{VIP}/24",),
            f"notify_backup {note('VI_1 backup')}",
            f"notify_fault {note('VI_1 fault')}",
            "track_file {\nnumber\n}",
            "virtual_routes {\n10.8.0.0/24 dev eth0 table labtable\n}",
        ),
        instance((f"{PEERS}/24",), f"unicast_peer {{\n{peer}\n}}", "unicast_ttl 7", name="VI_2", vrid=52),
        instance(
            (f"{MAC}/24", "10.0.0.161/24 dev dflt"),
            "use_vmac",
            "use_vmac_addr",
            "track_process {\np\n}",
            name="VI_3",
            vrid=53,
        ),
        globals=settings(folder),
    )


def test_keywords_that_need_a_machine(alone: Lab) -> None:
    a = alone["a"]
    folder = a.folder
    for name in ("usr", "etc"):
        (folder / name).mkdir()
    (folder / "etc/rt_tables").write_text("4711 labtable\n")
    (folder / "number").write_text("0")
    a.command("ip", "link", "add", "dflt", "type", "veth", "peer", "name", "dflt-peer")
    for name in ("dflt", "dflt-peer"):  # an address of VI_3 is on it, so that its link is tracked
        a.command("ip", "link", "set", name, "up")
    daemon = a.run(Ours, text(folder, alone["c"].address))
    assert isinstance(daemon, Ours)
    alone.wait_owner(VIP, "a", 10)
    alone.wait_owner(MAC, "a", 10)

    links = a.command("ip", "-o", "addr")
    assert "10.9.9.9" in next(line for line in links.splitlines() if " dflt " in line), "default_interface"
    assert "10.0.0.161" in next(line for line in links.splitlines() if " more" in line), "vmac_addr_prefix"
    assert "10.8.0.0/24" in a.command("ip", "route", "show", "table", "4711"), "iproute_etc_dir"
    alone.wait(lambda: any(f.vrid == 52 and f.ttl == 7 for f in alone.adverts("a")), 5, "unicast_ttl")

    sizes = {size for family, _, size in receive_buffers(daemon.vrrp_pid()) if family == socket.AF_NETLINK}
    assert {2 * 3000000, 2 * 9000000} <= sizes

    for name, number in (("state", signal.SIGUSR1), ("stats", signal.SIGUSR2), ("json", signal.SIGRTMIN + 2)):
        os.kill(daemon.pid, number)
        alone.wait(lambda name=name: (folder / name).exists() and (folder / name).read_text(), 5, name)
    assert "VRRP Instance = VI_1" in (folder / "state").read_text()
    assert "VRRP Instance: VI_1" in (folder / "stats").read_text()
    assert set(json.loads((folder / "json").read_text())) == {"vrrp", "track_process"}

    def lines() -> list[str]:
        return (folder / "lines").read_text().splitlines()

    alone.wait(lambda: 'GROUP "G" MASTER 0' in lines(), 5, "vrrp_notify_fifo_script")
    (folder / "number").write_text("5")
    alone.wait(lambda: 'INSTANCE "VI_1" MASTER_PRIORITY 105' in lines(), 5, "notify_priority_changes of the group")

    for _ in range(2):  # reload_repeat: the file stays, for every day
        before = daemon.log().count("reloaded")
        (folder / "time").write_text(time.strftime("%H:%M:%SZ\n", time.gmtime(time.time() + 2)))
        alone.wait(lambda before=before: daemon.log().count("reloaded") > before, 8, "a reload at its time")
        assert (folder / "time").exists()

    alone.unplug("a")
    alone.wait(lambda: "G fault" in (folder / "notes").read_text(), 5, "notify_fault")
    notes = (folder / "notes").read_text().splitlines()
    assert notes[:3] == ["VI_1 backup", "G backup", "G master"]
    alone.wait(lambda: (folder / "notes").read_text().count("fault") == 2, 5, "of the instance too")
    assert daemon.stop() == 0
    assert "10.9.9.9" not in a.command("ip", "-o", "addr")
