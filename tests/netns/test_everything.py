"""Reload, upgrade, deaths and stop of a daemon that has everything at once, and nobody on the wire notices.

One rich configuration: a sync group, every kind of tracker with a weight, moving and static routes and rules,
excluded addresses, no_accept, a virtual interface, unicast with auth_hmac, AH, FIFO and scripts. Whatever happens to
the daemon, the same lies in the kernel, the same priorities are advertised in time, and nothing is told twice.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from test_belongings import block, routing, second_interface
from test_firewall import ruleset
from test_pipes import Pipe
from test_tracking import another
from test_upgrade import release, upgrade

from lab import ROOT, Host, Lab, Ours, config, instance, now

VIPS = {51: "10.0.0.101", 52: "10.0.0.102", 53: "10.0.0.103", 54: "10.0.0.104"}
SLOW = 54  # AH is VRRPv2: an advert a second
OTHER = {"a": "10.0.0.3", "b": "10.0.0.2"}
UNREACHABLE = "198.51.102.0/24 via 10.9.0.1 dev eth0"  # it stays in the status as what is missing
WEIGHTS = {51: 10 - 3 + 5 + 7}  # what the trackers make of its priority; the file says -3
KEY = "a-key-for-the-test-of-everything-of-forty"


def rich(host: Host, priority: int, edits: tuple[tuple[str, str], ...] = ()) -> str:
    """The file; `edits`: (text, other text), each found exactly once."""
    folder = host.folder
    told = f'"/bin/sh {folder}/told'
    one = instance(
        (f"{VIPS[51]}/24", "10.1.0.1/24", "10.1.0.2/24"),
        block("virtual_ipaddress_excluded", ("10.2.0.1/24 dev eth1", "fd01::1/64", "fd01::2/64 -nodad dev eth1")),
        block(
            "virtual_routes",
            (
                "198.51.100.0/24 via 10.0.0.254 dev eth0",
                f"198.51.101.0/24 dev eth0 src {VIPS[51]} metric 7",
                UNREACHABLE,
            ),
        ),
        block("virtual_rules", ("from 192.168.2.0/24 table 100 preference 100",)),
        block("track_script", ("good", "bad")),
        block("track_file", ("number",)),
        block("track_process", ("worker",)),
        block("track_interface", ("eth1 weight 7",)),
        "no_accept",
        "promote_secondaries",
        "garp_master_delay 1",
        f'notify {told} VI_1"',
        "notify_priority_changes on",
        vrid=51,
        priority=priority,
    )
    two = instance(
        (f"{VIPS[52]}/24",), "use_vmac", "no_accept", "garp_master_delay 1", name="VI_2", vrid=52, priority=priority
    )
    three = instance(
        (f"{VIPS[53]}/24",),
        block("unicast_peer", (OTHER[host.name],)),
        f"auth_hmac {{\n key 1 {KEY}\n key 2 another-{KEY}\n active_key 1\n }}",
        f'notify {told} VI_3"',
        "garp_master_delay 1",
        name="VI_3",
        vrid=53,
        priority=priority,
    )
    four = instance(
        (f"{VIPS[SLOW]}/24",),
        "authentication {\n auth_type AH\n auth_pass secret\n }",
        f'notify {told} VI_4"',
        "garp_master_delay 0",
        name="VI_4",
        vrid=SLOW,
        priority=priority,
        version=2,
        interval=1,
    )
    text = "\n".join(
        (
            f'vrrp_script good {{\n script "/bin/sh {folder}/good"\n interval 0.2\n weight 10\n fall 5000\n}}',
            f'vrrp_script bad {{\n script "/bin/sh {folder}/bad"\n interval 0.2\n weight 20\n rise 5000\n}}',
            f"track_file number {{\n file {folder}/number\n weight 1\n}}",
            f"vrrp_track_process worker {{\n process {folder}/worker\n weight 5\n full_command\n}}",
            "garp_group {\n garp_interval 0.005\n interfaces {\n eth0 eth1\n }\n}",
            "interface_up_down_delays {\n eth1 0.1 0.3\n}",
            "track_group G {\n group {\n VI_1\n }\n}",
            "vrrp_sync_group both {\n group {\n VI_1\n VI_2\n }\n sync_group_tracking_weight\n"
            + f' notify {told} both"\n}}',
            block("static_ipaddress", ("10.0.0.50/24 dev eth0", "192.0.2.50/24 dev eth1 track_group G")),
            block("static_routes", ("198.51.110.0/24 via 10.0.0.253 dev eth0 track_group G",)),
            block("static_rules", ("from 192.168.3.0/24 table 100 preference 101",)),
            config(one, two, three, four, globals=("script_user root", f"notify_fifo {folder}/fifo")),
        )
    )
    for former, other in edits:
        assert text.count(former) == 1, f"{former!r} is there {text.count(former)} times"
        text = text.replace(former, other)
    return text


class Stage:
    """a is MASTER of everything, b listens; what was so before is compared with what is so now."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.host = lab, lab["a"]
        second_interface(lab, "ab")
        self.clean = {name: kernel(lab[name]) for name in "ab"}
        self.workers = [self._furnish(lab[name]) for name in "ab"]
        self.pipe = Pipe(self.host.folder / "fifo")
        self.pipe_b = Pipe(lab["b"].folder / "fifo")  # else it is a full one

    def begin(self) -> None:
        lab = self.lab
        self.host.run(Ours, rich(self.host, 200))
        lab["b"].run(Ours, rich(lab["b"], 100))
        for vip in VIPS.values():
            lab.wait_owner(vip, "a", 15)
        self.daemon = self.host.ours
        lab.wait(self.settled, 15, "every verdict counts, and the takeover is announced")
        lab.wait(lambda: not self.daemon.status()["scripts_queued"], 5, "scripts have run")
        self.look()

    def _furnish(self, host: Host) -> subprocess.Popen[bytes]:
        (host.folder / "told").write_text(f'echo "$*" >>{host.folder}/lines\n')
        (host.folder / "good").write_text("exit 0")
        (host.folder / "bad").write_text("exit 1")
        (host.folder / "number").write_text("-3")
        worker = host.folder / "worker"
        worker.symlink_to("/bin/sleep")
        return subprocess.Popen([str(worker), "600"])

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def priorities(self) -> dict[int, int]:
        return {int(each["virtual_router_id"]): int(each["priority"]) for each in self.daemon.status()["instances"]}

    def settled(self) -> bool:
        """The second round of announcements goes out a second after the takeover."""
        if not self.daemon.answers():
            return False
        wanted = {vrid: 200 + WEIGHTS.get(vrid, 0) for vrid in VIPS}
        since = now() - 1.1
        silent = not any(self.lab.announcements(vip, since=since) for vip in VIPS.values())
        return self.priorities() == wanted and silent and bool(self.lab.adverts("a", SLOW))

    def told(self) -> list[str]:
        path = self.host.folder / "lines"
        return path.read_text().splitlines() if path.exists() else []

    def look(self) -> None:
        """This is what it has to be like afterwards."""
        self.since = now()
        self.before = kernel(self.host)
        self.lines, self.piped, self.shown = self.told(), self.pipe.lines(), said(self.daemon)
        self.sent = self.priorities()

    def unchanged(self, bound: float = 1.5, slow: float = 1.5) -> None:
        """`bound`: intervals between two adverts at most; `slow`: the same where an interval is a second."""
        lab = self.lab
        done = now()
        lab.wait(lambda: len(lab.adverts("a", 51, since=done)) > 2, 3, "adverts go on")
        lab.wait(lambda: len(lab.adverts("a", SLOW, since=self.since)) > 1, 5, "those of AH too")
        assert not lab.adverts("b", since=self.since)
        for vrid, priority in self.sent.items():
            adverts = lab.adverts("a", vrid, since=self.since)
            assert {advert.priority for advert in adverts} == {priority}, f"no flap of {vrid}"
            gap = max(b.at - a.at for a, b in zip(adverts, adverts[1:]))
            interval, most = (1.0, slow) if vrid == SLOW else (0.1, bound)
            assert gap <= most * interval + 0.1, f"{vrid} was silent for {gap:.3f} s"
        for vip in VIPS.values():
            assert not lab.changes(vip, self.since)
        assert kernel(self.host) == self.before
        assert self.told() == self.lines
        assert self.pipe.lines() == self.piped
        lab.wait(lambda: said(self.daemon) == self.shown, 3, "the status says the same")


def kernel(host: Host) -> dict[str, list[Any]]:
    """All that a daemon may have put there."""
    addresses = [
        (link["ifname"], link["operstate"], info["local"], info["prefixlen"], info.get("label"), info["scope"])
        for link in json.loads(host.command("ip", "-j", "addr"))
        for info in link["addr_info"]
    ]
    table = sorted(json.dumps(entry, sort_keys=True) for entry in ruleset(host))
    return {"addresses": sorted(addresses, key=str), "routing": routing(host), "nft": table}


def said(daemon: Ours) -> dict[str, Any]:
    """What the status says, without what must be another each time."""
    status = daemon.status()
    moving = {"counters", "last_transition", "timer", "duties", "checksum"}
    instances = [{k: v for k, v in each.items() if k not in moving} for each in status["instances"]]
    for each in instances:
        for found in (*each.get("trackers", ()), *each["missing"]):
            found.pop("since", None)
    trackers = [{k: each[k] for k in ("kind", "name", "value", "said")} for each in status["trackers"]]
    return {"instances": instances, "sync_groups": status.get("sync_groups"), "trackers": trackers}


@pytest.fixture
def stage(lab: Lab) -> Iterator[Stage]:
    made = Stage(lab)
    try:
        made.begin()
        yield made
    finally:
        made.close()


def test_a_reload_and_the_deaths_of_processes_change_nothing(stage: Stage) -> None:
    daemon, lab = stage.daemon, stage.lab
    daemon.reload()
    lab.wait(lambda: "reloaded" in daemon.log(), 5, "reloaded")
    stage.unchanged()
    for victim in ("vrrp", "helper"):
        stage.look()
        another(lab, daemon, victim)
        stage.unchanged(bound=2.5)


# What a reload changes: text, other text, what the kernel, the status or the wire shows then (in `shown`).
CHANGES = {
    "vrrp_script weight": ("weight 10", "weight 12", "priority 221"),
    "vrrp_script interval": ("interval 0.2\n weight 20", "interval 0.3\n weight 20", "script bad every 0.3 s"),
    "track_file weight": ("number\n weight 1", "number\n weight 2", "priority 216"),
    "track_process weight": ("worker\n weight 5", "worker\n weight 6", "priority 220"),
    "track_interface weight": ("eth1 weight 7", "eth1 weight 8", "priority 220"),
    "track_interface": ("eth1 weight 7", "eth1 weight 0", "priority 212"),
    "virtual_routes": ("metric 7", "metric 8", "src 10.0.0.101 metric 8"),
    "virtual_rules": ("preference 100", "preference 102", r"102:\tfrom 192.168.2.0/24"),
    "virtual_ipaddress_excluded": ("fd01::1/64", "fd01::3/64", "'fd01::3'"),
    "virtual_ipaddress": ("10.1.0.2/24", "10.1.0.3/24", "'10.1.0.3'"),
    "no_accept": ('"no_accept"', '"accept"', '"elem": ["10.0.0.102"]'),
    "garp_group": ("garp_interval 0.005", "garp_interval 0.007", "priority 219"),
    "interface_up_down_delays": ("eth1 0.1 0.3", "eth1 0.2 0.4", "priority 219"),
    "static_ipaddress": ("10.0.0.50/24", "10.0.0.51/24", "'10.0.0.51'"),
    "static_routes": ("198.51.110.0/24", "198.51.111.0/24", "198.51.111.0/24 via 10.0.0.253"),
    "static_rules": ("preference 101", "preference 103", r"103:\tfrom 192.168.3.0/24"),
    "track_group": ("dev eth1 track_group G", "dev eth1", "priority 219"),
    "auth_hmac": ("active_key 1", "active_key 2", "'active_key': 2"),
    "vrrp_sync_group": (" VI_1\n VI_2\n", " VI_1\n VI_2\n VI_3\n", "'VI_3'], 'reasons'"),
    "notify": ("/told both", "/told two", "priority 219"),
}
UNSEEN = {"garp_group", "interface_up_down_delays", "track_group", "notify"}  # nothing shows them: nothing else changes


@pytest.mark.full
def test_a_reload_changes_what_it_changes_and_nothing_else(stage: Stage) -> None:
    """One keyword after another and back; the priority goes from the one to the other in one step."""
    lab, daemon, host = stage.lab, stage.daemon, stage.host
    plain = rich(host, 200)

    def shown() -> str:
        scripts = [t for t in daemon.status()["trackers"] if t["kind"] == "script"]
        every = ", ".join(f"script {t['name']} every {t['interval']} s" for t in scripts)
        return f"priority {stage.priorities()[51]} {every} {said(daemon)} {kernel(host)}"

    for keyword, (former, other, wanted) in CHANGES.items():
        former, other = former.strip('"'), other.strip('"')
        text = rich(host, 200, ((former, other),)) if keyword != "no_accept" else plain.replace(former, other, 1)
        for configuration, sight in ((text, wanted), (plain, "priority 219")):
            stage.since, priority = now(), stage.priorities()[51]
            if configuration is not plain and keyword not in UNSEEN:
                assert sight not in shown(), f"{keyword}: {sight} is so already"
            reloads = daemon.log().count("reloaded")
            daemon.reload(configuration)
            lab.wait(lambda n=reloads: daemon.log().count("reloaded") > n, 10, f"{keyword}: reloaded")
            lab.wait(lambda sight=sight: sight in shown(), 3, f"{keyword}: {sight}")
            told = stage.told()[len(stage.lines) :]
            assert not [line for line in told if "PRIORITY" not in line], keyword
            found = re.match(r"priority (\d+)", sight)
            expected = {priority, int(found[1]) if found else 219}
            lab.wait(lambda: len(lab.adverts("a", 51, since=stage.since)) > 4, 3, "adverts go on")
            for vrid in (51, 52, 53):
                adverts = lab.adverts("a", vrid, since=stage.since)
                assert {a.priority for a in adverts} <= (expected if vrid == 51 else {200}), f"{keyword}: {vrid}"
                assert max(b.at - a.at for a, b in zip(adverts, adverts[1:])) <= 0.25, f"{keyword}: {vrid}"
            assert not lab.adverts("b", since=stage.since), keyword
        assert kernel(host) == stage.before, keyword


@pytest.mark.full
def test_an_upgrade_changes_nothing(stage: Stage) -> None:
    lab, daemon = stage.lab, stage.daemon
    helper = daemon.processes()["helper"]
    for folder in (release(lab, "2.0"), str(ROOT)):
        answer = upgrade(daemon, folder)
        assert answer["ok"], answer
        lab.wait(lambda: daemon.answers() and daemon.processes()["helper"] != helper, 5, "another helper")
        stage.unchanged()


@pytest.mark.full
def test_death_follows_death(stage: Stage) -> None:
    """The helper and the vrrp process in either order, and while a reload is under way."""
    lab, daemon = stage.lab, stage.daemon
    both = daemon.processes()
    os.kill(both["helper"], signal.SIGKILL)
    os.kill(both["vrrp"], signal.SIGKILL)
    lab.wait(lambda: daemon.answers() and daemon.processes()["vrrp"] != both["vrrp"], 5, "both anew")
    stage.unchanged(bound=2.5)
    stage.look()
    daemon.reload()
    another(lab, daemon, "helper")
    lab.wait(lambda: "reloaded" in daemon.log(), 5, "reloaded")
    stage.unchanged(bound=2.5)


@pytest.mark.full
@pytest.mark.parametrize("how", ["stop", "guard", "everything"])
def test_nothing_is_left(stage: Stage, how: str) -> None:
    """A planned stop, and what ExecStopPost= does after the guard, or all of them, were killed."""
    lab, daemon, host = stage.lab, stage.daemon, stage.host
    pids = daemon.pids()
    if how == "stop":
        assert daemon.stop() == 0
    elif how == "guard":
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()
    else:
        daemon.kill()
        assert kernel(host) == stage.before, "nobody is left to undo anything"
    files = ("-p", str(daemon.pidfile), "-r", str(daemon.vrrp_pidfile))
    if how != "stop":
        host.command(sys.executable, "-m", "vrrpd", "--execute-will", *files)
    lab.wait(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 10, "every process has gone")
    assert kernel(host) == stage.clean["a"]
    for vip in VIPS.values():
        lab.wait_owner(vip, "b", 5)
    last = {vrid: [a.priority for a in lab.adverts("a", vrid, since=stage.since)] for vrid in VIPS}
    assert {vrid: priorities[-1] for vrid, priorities in last.items()} == dict.fromkeys(VIPS, 0)
    assert all(priorities.count(0) == 1 for priorities in last.values()), "each resigns once"
    if how != "everything":
        one = [f'INSTANCE "VI_{n}" STOP {stage.sent[50 + n]}' for n in (1, 2, 3, 4)]
        assert sorted(stage.pipe.lines()[len(stage.piped) :]) == sorted(['GROUP "both" STOP 0', *one])
        assert sorted(stage.told()[len(stage.lines) :]) == sorted(
            [f"{n} {kind} {n} STOP {p}" for n, kind, p in STOPPED]
        )


STOPPED = (("both", "GROUP", 0), ("VI_1", "INSTANCE", 219), ("VI_3", "INSTANCE", 200), ("VI_4", "INSTANCE", 200))
