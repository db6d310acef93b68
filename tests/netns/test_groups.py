"""vrrp_sync_group on two interfaces: one fault, one lower priority, one word of the operator moves both members."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from test_second_path import second_wire

from lab import Daemon, Host, Keepalived, Lab, Ours, config, in_namespace, instance, now

VIPS = ("10.0.0.100", "10.9.0.100")
LINES = 3  # in a pipe for each transition: two members and their group


def group(*members: str, lines: str = "") -> str:
    return "\n".join(["vrrp_sync_group G1 {", " group {", *members, " }", lines, "}", ""])


def configuration(host: Host, priority: int) -> str:
    return config(
        group("VI_1", "VI_2"),
        instance((f"{VIPS[0]}/24",), name="VI_1", vrid=51, priority=priority, interval=0.2),
        instance((f"{VIPS[1]}/24",), name="VI_2", vrid=52, priority=priority, interval=0.2, interface="eth1"),
        globals=("script_user root", f"vrrp_notify_fifo {host.folder}/fifo"),
    )


class Pipe:
    """A reader that is there before the daemon, with all transitions that it has read of."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.data = b""

    def lines(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            self.data += os.read(self.fd, 1 << 16)
        return [line for line in self.data.decode().splitlines() if "MASTER_RX_LOWER_PRI" not in line]


def switch(lab: Lab, port: str, state: str) -> None:
    with in_namespace(lab.switch):
        assert os.system(f"ip link set {port} {state}") == 0


def owners(lab: Lab) -> list[str]:
    """Who has each of the addresses."""
    return [name for name in "ab" for vip in VIPS if name in lab.held.owners(vip)]


def both_on(lab: Lab, name: str, timeout: float = 10) -> None:
    lab.wait(lambda: owners(lab) == [name, name], timeout, f"both addresses are on {name}")


@pytest.mark.parametrize("other", [Keepalived, Ours], ids=["keepalived", "ours"])
def test_the_loss_of_one_interface_moves_both(lab: Lab, other: type[Daemon]) -> None:
    """Whichever daemon has it; and who reads the named pipe is told the same by both, members before their group."""
    second_wire(lab)
    pipes = {name: Pipe(lab[name].folder / "fifo") for name in "ab"}
    for name, kind, priority in (("a", Ours, 200), ("b", other, 100)):
        lab[name].run(kind, configuration(lab[name], priority))
        both_on(lab, "a")  # before b starts

    def told_all(name: str, transitions: int) -> None:
        """Before the next event: one in the middle of a transition has keepalived leave lines out."""
        lab.wait(lambda: len(pipes[name].lines()) == transitions * LINES, 10, f"{name} tells all")

    told_all("b", 1)
    since = now()
    switch(lab, "qa", "down")
    both_on(lab, "b")
    told_all("b", 2)
    assert [advert.priority for advert in lab.adverts("a", 51, since)][-1] == 0
    switch(lab, "qb", "down")  # and now nobody may
    lab.wait(lambda: owners(lab) == [], 10, "neither has an address")
    told_all("b", 3)
    switch(lab, "qb", "up")
    both_on(lab, "b")
    told_all("b", 5)
    switch(lab, "qa", "up")
    both_on(lab, "a")
    told_all("a", 5)
    told_all("b", 6)
    told = {name: [line for line in pipe.lines() if line.startswith("GROUP")] for name, pipe in pipes.items()}
    assert told["a"] == [f'GROUP "G1" {state} 0' for state in ("BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER")]
    assert told["b"] == [
        f'GROUP "G1" {state} 0' for state in ("BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER", "BACKUP")
    ]
    lines = pipes["a"].lines()
    for index in range(0, len(lines), LINES):
        *members, last = lines[index : index + LINES]
        state = last.split()[2]
        assert sorted(members) == [f'INSTANCE "VI_{n}" {state} 200' for n in (1, 2)]
        assert last == f'GROUP "G1" {state} 0'


def test_a_handover_a_crash_and_a_reload_keep_the_group_together(lab: Lab) -> None:
    second_wire(lab)
    for name, priority in (("a", 200), ("b", 100)):
        os.mkfifo(lab[name].folder / "fifo")
        lab[name].run(Ours, configuration(lab[name], priority))
    both_on(lab, "a")
    a, b = lab["a"].ours, lab["b"].ours
    lab.wait(a.answers, 5, "the control socket answers")

    # A crash: the group is adopted as a group, b sees nothing of it.
    since = now()
    os.kill(a.vrrp_pid(), signal.SIGKILL)
    lab.wait(lambda: a.answers() and a.status()["sync_groups"][0]["state"] == "MASTER", 10, "adopted")
    assert owners(lab) == ["a", "a"]
    assert not [advert for advert in lab.adverts("", 0, since) if advert.priority == 0]

    # A third member: nobody else has it, and the others stay where they are.
    third = instance(("10.9.0.101/24",), name="VI_3", vrid=53, priority=200, interval=0.2, interface="eth1")
    text = configuration(lab["a"], 200).replace(group("VI_1", "VI_2"), group("VI_1", "VI_2", "VI_3")) + third
    a.reload(text)
    lab.wait(lambda: "a" in lab.held.owners("10.9.0.101"), 10, "a has the third one")
    assert owners(lab) == ["a", "a"]
    assert not [advert for advert in lab.adverts("", 0, since) if advert.priority == 0]
    assert a.status()["sync_groups"] == [
        {"name": "G1", "state": "MASTER", "leaving": False, "members": ["VI_1", "VI_2", "VI_3"], "reasons": []}
    ]

    # b takes the two that it has; the third one has nobody else, and is not kept without the others.
    answer = a.ask("handover", instance="VI_2")
    assert (answer["ok"], answer["sync_group"], answer["members"]) == (True, "G1", ["VI_1", "VI_2", "VI_3"])
    both_on(lab, "b")
    lab.wait(lambda: a.status()["sync_groups"][0]["state"] == "BACKUP", 10, "all of a's group is BACKUP")
    assert b.status()["sync_groups"][0]["state"] == "MASTER"


def test_what_the_group_tracks_moves_both(lab: Lab) -> None:
    """A number in a file lowers the priority of every member, and the other host takes both."""
    second_wire(lab)
    load = lab["a"].folder / "load"
    for name, priority in (("a", 200), ("b", 150)):
        (lab[name].folder / "load").write_text("0\n")
        tracked = f"track_file load {{\n file {lab[name].folder}/load\n}}\n"
        text = configuration(lab[name], priority).replace(
            group("VI_1", "VI_2"), tracked + group("VI_1", "VI_2", lines="track_file {\n load weight -1\n}")
        )
        os.mkfifo(lab[name].folder / "fifo")
        lab[name].run(Ours, text)
        both_on(lab, "a")
    lab.wait(lab["a"].ours.answers, 5, "the control socket answers")
    load.write_text("60\n")
    lab.wait(lambda: {i["priority"] for i in lab["a"].ours.status()["instances"]} == {140}, 5, "both have lost 60")
    both_on(lab, "b")
    load.write_text("0\n")
    both_on(lab, "a")
