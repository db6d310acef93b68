"""What keepalived tells the world beside its log, and we do too: named pipes, line by line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

from lab import ROOT, Daemon, Keepalived, Lab, Ours, config, instance, ip_packet, vrrp3
from vrrpd.journal import start_of

HOSTS: dict[str, tuple[type[Daemon], int, str]] = {
    "a": (Keepalived, 51, "10.0.0.100"),
    "b": (Ours, 52, "10.0.0.101"),
}


class Pipe:
    """A reader of a named pipe that is there before the daemon, with all that it has read."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.data = b""

    def lines(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            self.data += os.read(self.fd, 1 << 16)
        return self.data.decode().splitlines()


def test_a_named_pipe_gets_what_keepalived_writes(lab: Lab) -> None:
    """Start, a lower advert, a lost link, a reload, a stop: the same lines in the same order."""
    pipes = {name: Pipe(lab[name].folder / "fifo") for name in HOSTS}

    def everywhere(line: str, count: int = 1) -> None:
        lab.wait(lambda: all(p.lines().count(f'INSTANCE "VI_1" {line}') == count for p in pipes.values()), 10, line)

    for name, (kind, vrid, vip) in HOSTS.items():
        settings = ("script_user root", f"notify_fifo {lab[name].folder}/fifo")
        lab[name].run(kind, config(instance((f"{vip}/24",), vrid=vrid), globals=settings))
    everywhere("MASTER 100")
    for _, vrid, vip in HOSTS.values():
        lab.inject(ip_packet(lab["c"].address, vrrp3(vrid, 50, (vip,), lab["c"].address)))
    everywhere("MASTER_RX_LOWER_PRI 100")
    for name in HOSTS:
        lab.unplug(name)
    everywhere("FAULT 100")
    for name in HOSTS:
        lab.plug(name)
    everywhere("MASTER 100", 2)
    for name in HOSTS:
        lab[name].daemon.reload()
    lab.wait(lambda: all("eload" in lab[name].daemon.log() for name in HOSTS), 5, "both reload")
    for name in HOSTS:
        lab[name].daemon.terminate()
    everywhere("STOP 100")
    for name in HOSTS:
        lab[name].daemon.wait()
    assert pipes["b"].lines() == pipes["a"].lines()


def test_a_reload_writes_the_states_when_asked_to(lab: Lab) -> None:
    """As keepalived's manual says (2.2.7 was not seen to do it). The pipe stays open, the script that reads goes on."""
    a = lab["a"]
    trace, fifo = a.folder / "trace", a.folder / "fifo"
    lines = (
        "script_user root",
        f"notify_fifo {fifo}",
        f"notify_fifo_script \"/bin/sh -c 'echo start >>{trace}; exec cat $0 >>{trace}'\"",
        "fifo_write_vrrp_states_on_reload",
    )
    text = config(instance(), globals=lines)
    daemon = a.run(Ours, text)
    lab.wait(lambda: trace.exists() and "MASTER" in trace.read_text(), 10, "the script reads")
    daemon.reload(text + instance(("10.0.0.101/24",), name="VI_2", vrid=52, priority=90, interval=1))
    lab.wait(lambda: trace.read_text().count("MASTER 100") == 2, 10, "the states are written")
    assert daemon.stop() == 0
    states = [line for line in trace.read_text().splitlines() if "VI_1" in line or line == "start"]
    one = 'INSTANCE "VI_1"'
    assert states == ["start", f"{one} BACKUP 100", f"{one} MASTER 100", f"{one} MASTER 100", f"{one} STOP 100"]
    assert not fifo.exists()


def test_an_upgrade_and_the_death_of_the_helper_lose_no_line(lab: Lab) -> None:
    """The guard keeps the pipe over its exec, and over helpers; the script that reads goes on as it is."""
    a = lab["a"]
    trace, fifo = a.folder / "trace", a.folder / "fifo"
    lines = (
        "script_user root",
        f"notify_fifo {fifo}",
        f"notify_fifo_script \"/bin/sh -c 'echo $$ >>{trace}; exec cat $0 >>{trace}'\"",
    )
    daemon = a.run(Ours, config(instance(), globals=lines))
    assert isinstance(daemon, Ours)
    lab.wait(lambda: trace.exists() and "MASTER" in trace.read_text(), 10, "the script reads")
    reader = int(trace.read_text().split()[0])
    os.kill(reader, signal.SIGSTOP)
    with daemon.connect(60) as sock:
        sock.sendall(json.dumps({"cmd": "upgrade", "release": str(ROOT)}).encode() + b"\n")
        assert json.loads(sock.makefile("rb").readline())["ok"]
    lab.unplug("a")
    lab.wait(lambda: "MASTER -> FAULT" in daemon.log(), 5, "FAULT")
    former = daemon.processes()["helper"]
    os.kill(former, signal.SIGKILL)
    lab.wait(lambda: daemon.answers() and daemon.processes()["helper"] != former, 10, "another helper")
    lab.plug("a")
    lab.wait(lambda: daemon.log().count("-> MASTER") == 2, 10, "MASTER again")
    os.kill(reader, signal.SIGCONT)
    one = 'INSTANCE "VI_1"'
    states = [str(reader), *(f"{one} {state} 100" for state in ("BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER"))]
    lab.wait(lambda: trace.read_text().splitlines() == states, 5, "every line once")
    assert daemon.stop() == 0
    assert trace.read_text().splitlines() == [*states, f"{one} STOP 100"]
    assert not fifo.exists()
    assert not start_of(reader)
