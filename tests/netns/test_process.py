"""The daemon as processes: who may die, what is undone, what goes on, what an operator is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import ROOT, Host, Lab, Ours, Prober, config, instance, now

VIP, SECOND = "10.0.0.100", "10.0.0.101"


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def will_file(daemon: Ours) -> Path:
    return Path(f"{daemon.pidfile}.d", "guard", "will.json")


def command(host: Host, *argv: str) -> subprocess.CompletedProcess[str]:
    with host.inside():
        return subprocess.run(
            [sys.executable, "-m", "vrrpd", *argv], capture_output=True, text=True, check=False, cwd=ROOT, timeout=30
        )


# ------------------------------------------------------------------------------- privileges and what lies around
def test_the_vrrp_process_keeps_four_capabilities(master: Ours) -> None:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{master.vrrp_pid()}/status").read_text().splitlines())
    kept = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 23  # NET_ADMIN NET_RAW IPC_LOCK SYS_NICE
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16)
    assert int(status["CapEff"], 16) | kept == kept
    assert int(status["CapEff"], 16) >> 12 & 3 == 3
    assert int(status["CapBnd"], 16) | kept == kept
    assert status["NoNewPrivs"] == "1"


UNPRIVILEGED = """
import json, os, socket, sys
sys.path.insert(0, sys.argv[1])
from vrrpd import process
from vrrpd.net import addresses, netlink
from vrrpd.net.sockets import AF_INET, AF_INET6, Frames, Receiver, Sender
parent = os.getppid()
who = process.drop_privileges("nobody", process.VRRP_CAPABILITIES)
alive = process.die_with_parent(parent)
index = socket.if_nametoindex("eth0")
address = socket.inet_aton("10.0.0.77")
done = {"who": who, "alive": alive, "uid": os.getresuid(), "groups": os.getgroups()}
done["added"] = netlink.Requests().run([addresses.add(index, address, 24)])
for family, group in ((AF_INET, "224.0.0.18"), (AF_INET6, "ff02::12")):
    Receiver(index, family).listen([socket.inet_pton(family, group)], [51])
    Sender(index, family)
done["frame"] = Frames().send("eth0", bytes.fromhex("ffffffffffff") + bytes(54))
done["locked"], done["realtime"] = process.lock_memory(), process.schedule_realtime()
def refused(action):
    try:
        action()
    except PermissionError:
        return True
    return False
done["refused"] = [
    refused(lambda: os.setuid(0)),
    refused(lambda: open("/etc/shadow")),
    refused(lambda: os.kill(parent, 0)),
]
print(json.dumps(done))
"""


def test_an_ordinary_user_with_these_capabilities_can_do_all_of_it_and_no_more(lab: Lab) -> None:
    with lab["a"].inside():
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-S", "-c", UNPRIVILEGED, str(ROOT)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["who"], result["alive"], result["added"], result["frame"]) == ("nobody", True, [0], True)
    assert 0 not in result["uid"]
    assert result["groups"] == []
    assert result["refused"] == [True, True, True]
    lab.wait_owner("10.0.0.77", "a", 1)


def test_the_processes_share_no_descriptor_that_is_not_theirs(master: Ours) -> None:
    """No child keeps the guard's pid file, its sockets to others, or an epoll."""
    for name, pid in master.processes().items():
        targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert targets.count("anon_inode:[eventpoll]") == 1, name
        assert targets.count("anon_inode:[timerfd]") == 1, name
        assert (str(master.pidfile) in targets) == (name == "guard")
        assert (str(master.vrrp_pidfile) in targets) == (name in ("guard", "vrrp"))  # the guard, for the next one


def test_the_will_is_roots_alone_and_names_what_is_to_be_undone(lab: Lab, master: Ours) -> None:
    path = will_file(master)
    lab.wait(path.exists, 2, "the will is written")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    (record,) = map(json.loads, path.read_text().splitlines()[1:])
    assert [entry[0] for entry in record["addresses"]] == [VIP]
    master.stop()
    assert not path.exists()


# -------------------------------------------------------------------------------------------------- deaths
def test_a_vrrp_process_that_dies_again_and_again_is_undone_before_the_next_waits(lab: Lab, master: Ours) -> None:
    """The first two deaths nobody notices (test_continuity.py)."""
    for death in (1, 2, 3):
        pid = master.vrrp_pid()
        assert lab.held.owners(VIP) == {"a"}
        since = now()
        os.kill(pid, signal.SIGKILL)
        if death < 3:
            lab.wait(lambda pid=pid: ended(pid) and master.vrrp_pid() != pid, 5, "a new process")
            lab.wait(lambda since=since: lab.adverts("a", since=since), 2, "it adverts")
    lab.wait_owner(VIP, "b", 1)
    assert [f.priority for f in lab.adverts("a", since=since)][:1] == [0]
    lab.wait(lambda: "started again in 0.5 s" in master.log(), 3, "patience")
    lab.wait_owner(VIP, "a", 5)
    lab.wait(master.answers, 3, "the helper talks to the new one")
    assert master.processes()["vrrp"] == master.vrrp_pid() != pid
    assert "killed by SIGKILL" in master.log()


def test_a_daemon_that_was_stopped_as_a_whole_is_not_fenced(lab: Lab, master: Ours) -> None:
    """A paused container or machine: nobody is late when everybody was."""
    before = master.processes()
    lab.cut("b")
    pids = master.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until = now() + 2.5
    lab.wait(lambda: now() > until, 4, "longer than the patience")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    lab.wait(master.answers, 3, "it answers again")
    since = now()
    lab.wait(lambda: len(lab.adverts("a", since=since)) > 12, 3, "adverts go on")
    assert master.processes() == before


def test_a_dead_helper_is_replaced_and_nobody_on_the_wire_notices(lab: Lab, master: Ours) -> None:
    before = master.processes()
    since = now()
    os.kill(before["helper"], signal.SIGKILL)
    lab.wait(lambda: master.answers() and master.processes()["helper"] != before["helper"], 5, "a new helper")
    assert master.processes()["vrrp"] == before["vrrp"]
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.3, "a stays")
    times = [f.at for f in lab.adverts("a", since=since)]
    assert max(b - a for a, b in zip(times, times[1:])) < 0.2
    assert not lab.changes(VIP, since)
    assert "helper process has ended" in master.log()


@pytest.mark.full
def test_a_helper_that_hangs_is_replaced_and_nobody_on_the_wire_notices(lab: Lab, master: Ours) -> None:
    """Within half a minute: it may block for good reasons."""
    before, since = master.processes(), now()
    os.kill(before["helper"], signal.SIGSTOP)
    lab.wait(lambda: "helper process has ended" in master.log(), 40, "the guard gives it up")
    lab.wait(master.answers, 5, "a new helper")
    assert master.processes()["vrrp"] == before["vrrp"]
    assert not lab.changes(VIP, since)


def test_what_happens_while_there_is_no_helper_is_told_to_the_next_one(lab: Lab, master: Ours) -> None:
    helper = master.processes()["helper"]
    os.kill(helper, signal.SIGSTOP)
    lab["a"].ip("link set eth0 down")
    lab.wait_owner(VIP, "b", 3)
    os.kill(helper, signal.SIGKILL)
    lab.wait(lambda: "MASTER -> FAULT" in master.log(), 5, "the transition is logged")


def test_after_a_crash_of_everything_the_will_is_executed_from_its_file(lab: Lab, master: Ours) -> None:
    """What ExecStopPost= does."""
    path = will_file(master)
    lab.wait(path.exists, 2, "the will is written")
    kept = path.read_text()
    master.kill()
    lab.wait(lambda: "b" in lab.held.owners(VIP), 3, "the dead one still holds the address beside b")
    assert "a" in lab.held.owners(VIP)
    since = now()
    path.write_text(kept)
    done = command(lab["a"], "--execute-will", "-p", str(master.pidfile))
    assert done.returncode == 0, done.stderr
    lab.wait_owner(VIP, "b", 1)
    assert [f.priority for f in lab.adverts("a", since=since)] == [0]
    assert not path.exists()
    again = command(lab["a"], "--execute-will", "-p", str(master.pidfile))
    assert again.returncode == 0
    assert len(lab.adverts("a", since=since)) == 1, "once"


def test_a_stopped_worker_of_a_dead_guard_is_ended_and_its_will_is_executed(lab: Lab, master: Ours) -> None:
    """Its guard has been killed while everything was stopped; it cannot leave by itself."""
    workers = {name: pid for name, pid in master.processes().items() if name != "guard"}
    master.signal(signal.SIGSTOP)
    lab.wait(lambda: "b" in lab.held.owners(VIP), 5, "b takes over")
    os.kill(master.pid, signal.SIGKILL)
    lab.wait(lambda: ended(master.pid), 2, "the guard is gone")
    assert "a" in lab.held.owners(VIP)
    since = now()
    files = ("-p", str(master.pidfile), "-r", str(master.vrrp_pidfile))
    done = command(lab["a"], "--execute-will", *files)
    assert done.returncode == 0, done.stderr
    lab.wait(lambda: all(map(ended, workers.values())), 2, "the workers are gone")
    lab.wait_owner(VIP, "b", 1)
    assert [f.priority for f in lab.adverts("a", since=since)] == [0]


def test_a_will_whose_addresses_are_gone_does_nothing(lab: Lab, master: Ours) -> None:
    path = will_file(master)
    lab.wait(path.exists, 2, "the will is written")
    master.kill()
    lab["a"].ip(f"addr del {VIP}/24 dev eth0")
    since = now()
    assert command(lab["a"], "--execute-will", "-p", str(master.pidfile)).returncode == 0
    assert not lab.adverts("a", since=since)


def test_the_next_start_undoes_what_a_crash_left_even_outside_the_new_configuration(lab: Lab, master: Ours) -> None:
    path = will_file(master)
    lab.wait(path.exists, 2, "the will is written")
    master.kill()
    assert "a" in lab.held.owners(VIP)
    master.config.write_text(config(instance((f"{SECOND}/24",), vrid=52, priority=200)))
    master.start()
    lab.wait_owner(SECOND, "a", 5)
    lab.wait_owner(VIP, "b", 3)


# ------------------------------------------------------------------------------------------- start and stop
def test_a_second_daemon_with_the_same_pid_file_is_refused(lab: Lab, master: Ours) -> None:
    done = command(lab["a"], "-n", "-l", "-f", str(master.config), "-p", str(master.pidfile))
    assert done.returncode == 1
    assert f"process {master.pid} holds" in done.stderr
    assert master.answers()


def test_in_the_background_the_start_is_over_when_the_command_returns(lab: Lab, tmp_path: Path) -> None:
    a = lab["a"]
    file = tmp_path / "vrrpd.conf"
    file.write_text(config(instance(priority=255, state="MASTER")))
    done = command(a, "-f", str(file), "-p", str(tmp_path / "main.pid"), "-r", str(tmp_path / "vrrp.pid"))
    assert done.returncode == 0, done.stderr
    pid = int((tmp_path / "main.pid").read_text())
    assert not ended(pid)
    lab.wait_owner(VIP, "a", 5)
    os.kill(pid, signal.SIGTERM)
    lab.wait(lambda: ended(pid), 5, "it ends")
    lab.wait_owner(VIP, "", 1)
    assert not (tmp_path / "main.pid").exists()


def test_in_the_background_a_bad_configuration_fails_the_command(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "vrrpd.conf"
    file.write_text(config(instance()) + "nonsense\n")
    done = command(lab["a"], "-f", str(file), "-p", str(tmp_path / "main.pid"))
    assert done.returncode == 5
    assert "nonsense" in done.stderr
    assert not (tmp_path / "main.pid").exists()


def test_dont_release_vrrp_keeps_the_addresses_and_says_nothing_on_the_wire(lab: Lab) -> None:
    told = lab["a"].folder / "told"
    line = f'notify_stop "/usr/bin/touch {told}" root'
    daemon = lab["a"].run(Ours, config(instance((f"{VIP}/24",), line, priority=200)), options=("-V",))
    lab.wait_owner(VIP, "a", 5)
    since = now()
    assert daemon.stop() == 0
    assert lab.held.owners(VIP) == {"a"}
    assert [f.priority for f in lab.adverts("a", since=since) if not f.priority] == []
    assert told.exists(), "scripts and named pipes hear of it, as from keepalived"


def test_a_stop_is_quick_for_a_backup(lab: Lab, master: Ours) -> None:
    backup = lab["b"].daemon
    since = now()
    assert backup.stop() == 0
    assert now() - since < 0.5
    assert not lab.adverts("b", since=since)


def test_a_stop_while_the_successor_takes_over_costs_no_answer(lab: Lab, master: Ours) -> None:
    prober = Prober(lab, VIP)
    lab.wait(lambda: len(prober.answered) > 10, 3, "it answers")
    since = now()
    assert master.stop() == 0
    lab.wait_owner(VIP, "b", 2)
    seen = len(prober.answered)
    lab.wait(lambda: len(prober.answered) > seen + 20, 3, "b answers")
    prober.stop()
    assert prober.longest_gap(since) < 0.06


# -------------------------------------------------------------------------------------------------- reload
def test_a_reload_touches_only_what_changed(lab: Lab, master: Ours) -> None:
    same, other = instance(priority=200), instance((f"{SECOND}/24",), name="VI_2", vrid=52, priority=200)
    master.reload(config(same, other))
    lab.wait_owner(SECOND, "a", 5)
    before = master.instance("VI_1")["last_transition"]["at"]
    since = now()
    reply = None
    master.config.write_text(config(same, other.replace("priority 200", "priority 210")))
    reply = master.ask("reload")
    assert reply["ok"], reply
    assert reply["changed"] == ["VI_2"]
    lab.wait(lambda: any(f.priority == 210 for f in lab.adverts("a", 52, since)), 1, "the new priority")
    assert not lab.changes(VIP, since)
    assert abs(master.instance("VI_1")["last_transition"]["at"] - before) < 0.1
    times = [f.at for f in lab.adverts("a", 51, since)]
    assert max((b - a for a, b in zip(times, times[1:])), default=0) < 0.2


def test_reloads_on_top_of_each_other_end_with_the_last_file(lab: Lab, master: Ours) -> None:
    for number in range(101, 121):
        master.reload(config(instance((f"{VIP}/24", f"10.0.0.{number}/24"), priority=200)))
    lab.wait_owner("10.0.0.120", "a", 10)
    lab.wait(lambda: not any(lab.held.owners(f"10.0.0.{n}") for n in range(101, 120)), 3, "only the last one")
    assert lab.held.owners(VIP) == {"a"}


def test_a_broken_file_is_told_to_the_log_and_to_who_asked_and_changes_nothing(lab: Lab, master: Ours) -> None:
    before = master.processes()
    since = now()
    master.config.write_text(config(instance(priority=200)).replace("virtual_router_id 51", "virtual_router_id 510"))
    reply = master.ask("reload")
    assert reply["ok"] is False
    assert "510" in json.dumps(reply["diagnostics"])
    lab.wait(lambda: "goes on as before" in master.log() and "510" in master.log(), 2, "the log says so")
    master.reload()
    lab.wait(lambda: master.log().count("goes on as before") == 2, 3, "after a signal too")
    assert master.processes() == before
    assert not lab.changes(VIP, since)
    assert not [f for f in lab.adverts("a", since=since) if f.priority != 200]


def test_a_configuration_that_the_vrrp_process_dies_of_is_not_given_to_its_successor(lab: Lab) -> None:
    former = config(instance(interval=1, version=2))  # silent for 2.5 s before it is fenced: time for the reader
    daemon = lab["a"].run(Ours, former)
    assert isinstance(daemon, Ours)
    lab.wait(daemon.answers, 5, "the control socket answers")
    daemon.config.write_text(config(instance(interval=1, version=2, priority=77)))
    victim = daemon.vrrp_pid()
    os.kill(victim, signal.SIGSTOP)
    reply = daemon.ask("reload")
    assert not reply["ok"]
    assert "the present one ended while reloading" in reply["error"]
    lab.wait(lambda: ended(victim) and daemon.answers(), 10, "the successor answers")
    assert daemon.instance()["base_priority"] == 100


def test_after_a_crash_the_reloaded_configuration_is_the_one_that_runs(lab: Lab, master: Ours) -> None:
    master.config.write_text(config(instance((f"{VIP}/24", f"{SECOND}/24"), priority=200)))
    assert master.ask("reload")["ok"]
    lab.wait_owner(SECOND, "a", 2)
    master.config.write_text("broken {")
    since = now()
    os.kill(master.vrrp_pid(), signal.SIGKILL)
    lab.wait(lambda: len(lab.adverts("a", since=since)) > 5, 5, "adverts go on")
    assert {f.addresses for f in lab.adverts("a", since=since)} == {(VIP, SECOND)}
    assert lab.held.owners(SECOND) == {"a"}


# -------------------------------------------------------------------------------------------------- the rest
def test_many_instances_fail_over_together_and_are_told_in_slices(lab: Lab) -> None:
    """64 virtual routers of 3 addresses: one status answer is longer than one message."""

    def many(priority: int) -> str:
        return config(
            *(
                instance(tuple(f"10.1.{n}.{k}/32" for k in (1, 2, 3)), name=f"VI_{n}", vrid=n, priority=priority)
                for n in range(1, 65)
            )
        )

    daemon = lab["a"].run(Ours, many(200))
    lab["b"].run(Ours, many(100))
    assert isinstance(daemon, Ours)
    lab.wait(lambda: all(lab.held.owners(f"10.1.{n}.{k}") == {"a"} for n in range(1, 65) for k in (1, 2, 3)), 10, "a")
    status = daemon.status()
    assert {i["name"] for i in status["instances"]} == {f"VI_{n}" for n in range(1, 65)}
    assert {i["state"] for i in status["instances"]} == {"MASTER"}
    since = now()
    os.kill(daemon.vrrp_pid(), signal.SIGKILL)
    lab.wait(lambda: {f.vrid for f in lab.adverts("a", since=since)} == set(range(1, 65)), 2, "all adopted")
    daemon.kill()
    lab.wait(lambda: all("b" in lab.held.owners(f"10.1.{n}.1") for n in range(1, 65)), 3, "b has all")
    assert not [f for f in lab.adverts("a", since=since) if f.priority == 0]


def interpreters() -> list[str]:
    """The system's Python, and every other version from 3.9 on that this machine happens to have."""
    found = {"system": "/usr/bin/python3"}
    for minor in range(9, 15):
        homes = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3"))
        path = str(homes[-1]) if homes else shutil.which(f"python3.{minor}")
        if path:
            found[f"3.{minor}"] = path
    return list(found.values())


@pytest.mark.parametrize("python", interpreters())
def test_every_python_runs_it(lab: Lab, python: str) -> None:
    """The floor is 3.9; from 3.13 on the timerfd comes with Python."""

    class Other(Ours):
        def argv(self) -> list[str]:
            return [python, *super().argv()[1:]]

    daemon = lab["a"].run(Other, config(instance(priority=200)))
    lab["b"].run(Other, config(instance(priority=100)))
    assert isinstance(daemon, Ours)
    lab.wait_owner(VIP, "a", 10)
    lab.wait(daemon.answers, 5, "status")
    daemon.reload(config(instance((f"{VIP}/24", f"{SECOND}/24"), priority=200)))
    lab.wait_owner(SECOND, "a", 5)
    lab.wait(lambda: "reloaded" in daemon.log(), 5, "the former vrrp process has been followed")
    os.kill(daemon.vrrp_pid(), signal.SIGKILL)
    lab.wait(lambda: "started again" in daemon.log(), 2, "the will")
    lab.wait_owner(VIP, "a", 5)
    assert daemon.stop() == 0
    lab.wait_owner(VIP, "b", 2)


def test_an_address_on_another_interface_needs_that_interface(lab: Lab) -> None:
    """keepalived: FAULT while it does not exist or is down, so that another router can have it; not with no_track."""
    a = lab["a"]
    tracked = instance((f"{VIP}/24", "10.8.0.1/24 dev eth7"), priority=200)
    alone = instance((f"{SECOND}/24", "10.8.0.2/24 dev eth7 no_track"), priority=200, vrid=52, name="VI_2")
    a.run(Ours, config(tracked, alone))
    lab.wait_owner(SECOND, "a", 5)
    assert a.ours.instance("VI_1")["faults"] == ["tracked interface eth7 does not exist"]
    for _ in range(2):
        a.ip("link add eth7 type veth peer name eth8", "link set eth8 up", "link set eth7 up")
        lab.wait_owner(VIP, "a", 5)
        lab.wait_owner("10.8.0.1", "a", 2)
        a.ip("link set eth8 down")
        lab.wait_owner(VIP, "", 2)
        assert a.ours.instance("VI_1")["faults"] == ["tracked interface eth7 is down"]
        a.ip("link del eth7")
        lab.wait_owner("10.8.0.1", "", 2)
    assert lab.held.owners(SECOND) == {"a"}
