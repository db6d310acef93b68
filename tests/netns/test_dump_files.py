"""The files that signals write: the same instances, lines and names as keepalived's own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import ROOT, Daemon, Keepalived, Lab, Ours, config, instance

SIGNALS = {
    "keepalived.data": signal.SIGUSR1,
    "keepalived.stats": signal.SIGUSR2,
    "keepalived.json": signal.SIGRTMIN + 2,
}
# What a file of ours lacks, as the names of its lines: what only keepalived's own processes have.
OTHERWISE = {"fd_in", "Read timeout", "Unicast checksum compatibility"}


def configuration(host: int, files: Path) -> str:
    """The same for both, but for what must not clash on one wire."""
    return config(
        f'vrrp_script check {{\nscript "/usr/bin/test -e {files}/ok"\nweight 7\n}}\n'
        f"track_file number {{\nfile {files}/number\nweight 1\n}}\n",
        instance(
            (f"10.0.0.1{host}1/24", f"10.0.0.1{host}2/24 dev eth0 label eth0:x", f"10.0.0.1{host}3/32 scope link"),
            "authentication {\nauth_type PASS\nauth_pass secret\n}",
            f"virtual_ipaddress_excluded {{\n10.0.0.1{host}4/24\nfd00::{host}44/64\n}}",
            'notify "/usr/bin/sh -c true" root',
            "notify_deleted",
            "smtp_alert",
            "garp_master_refresh 60",
            vrid=50 + host,
            version=2,
            interval=1,
        ),
        instance(
            (f"10.0.0.1{host}5/24",),
            f"unicast_peer {{\n10.0.0.{60 + host}\n}}",
            "nopreempt",
            "preempt_delay 0",
            "track_script {\ncheck\n}",
            "track_file {\nnumber weight 2\n}",
            name="VI_2",
            vrid=60 + host,
            interval=0.5,
        ),
        instance((f"fe80::1:{host}/64", f"fd00::1:{host}/64"), name="VI_6", vrid=70 + host),
        globals=("script_user root", "enable_script_security"),
    )


def plain(text: str) -> str:
    """Without what the two hosts cannot have in common."""
    text = re.sub(r"\b10\.0\.0\.1[23](?=\d)", "10.0.0.1N", text)
    text = re.sub(r"\b(fd00::|fe80::1:|fd00::1:)[23]", r"\1N", text)
    text = re.sub(r"\b(10\.0\.0\.|10\.0\.0\.6|fe80::|[567])[23]\b", r"\1N", text)
    text = re.sub(r"= \d{10}\.\d+ \(.*\)", "= T", text)
    text = re.sub(r"(Sent|Received): \d+", r"\1: N", text)
    return re.sub(r", (uid:gid \d+:\d+|ifindex \w+)", "", text).replace("secret", "********")


def named(data: str) -> list[str]:
    """The lines about instances."""
    part = data.partition("------< VRRP Topology >------\n")[2].partition("------<")[0]
    return [line for line in plain(part).splitlines() if not line.strip().startswith(tuple(OTHERWISE))]


def comparable(entry: dict[str, Any]) -> dict[str, Any]:
    entry.update((name, 0) for name in ("last_transition", "advert_sent", "vrid") if name in entry)
    for name, value in entry.items():
        if name in ("vips", "evips"):
            entry[name] = [plain(text) for text in value]
        elif name == "auth_data":
            entry[name] = plain(value)
    return entry


def test_the_files_are_those_of_keepalived(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, Path] = {}
    (lab.folder / "ok").touch()
    (lab.folder / "number").write_text("3")
    kinds: dict[str, tuple[type[Daemon], int]] = {"a": (Keepalived, 2), "b": (Ours, 3)}
    for name, (kind, number) in kinds.items():
        files[name] = lab[name].folder / "dumps"
        files[name].mkdir()
        monkeypatch.setenv("TMPDIR", str(files[name]))
        lab[name].run(kind, configuration(number, lab.folder))
    for address in ("10.0.0.125", "10.0.0.131", "10.0.0.121", "fd00::1:2", "fd00::1:3"):
        lab.wait_owner(address, "a" if address[7:9] == "12" or address.endswith(":2") else "b", 8)
    for name in kinds:
        for number in SIGNALS.values():
            os.kill(lab[name].daemon.pid, number)
    lab.wait(lambda: all((files[n] / file).exists() for n in kinds for file in SIGNALS), 5, "six files")
    read = {name: {file: (files[name] / file).read_text() for file in SIGNALS} for name in kinds}
    assert plain(read["b"]["keepalived.stats"]) == plain(read["a"]["keepalived.stats"])
    assert named(read["b"]["keepalived.data"]) == named(read["a"]["keepalived.data"])
    theirs, ours = (json.loads(read[name]["keepalived.json"], object_hook=comparable) for name in "ab")
    assert ours == theirs
    assert [list(entry["data"]) for entry in ours] == [list(entry["data"]) for entry in theirs]  # the order too


def test_statistics_are_cleared_when_they_have_been_written(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(lab["a"].folder))
    file = lab["a"].folder / "keepalived.stats"
    daemon = lab["a"].run(Ours, config(instance(interval=1, version=2)))
    assert isinstance(daemon, Ours)
    lab.wait_owner("10.0.0.100", "a", 8)
    out = subprocess.run(
        [sys.executable, "-m", "vrrpd", "--signum", "STATS_CLEAR"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    os.kill(daemon.pid, int(out.stdout))
    lab.wait(file.exists, 5, "the file")
    assert "Became master: 1" in file.read_text()
    counters: dict[str, Any] = daemon.counters()
    assert counters["become_master"] == 0
    assert counters["advert_sent"] <= 1
