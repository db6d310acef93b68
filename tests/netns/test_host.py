"""The daemon as a process of its machine: scripts at both ends of its life, scheduling, namespaces, timed reloads."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import ROOT, Lab, Ours, children, config, instance

VIP = "10.0.0.100"


@pytest.fixture
def alone() -> Iterator[Lab]:
    with Lab("a") as made:
        yield made


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_the_first_and_the_last_thing_that_happens(alone: Lab) -> None:
    """startup_script before the first advert, shutdown_script after the last notify script."""
    a = alone["a"]
    trace = a.folder / "trace"
    lines = (
        "script_user root",
        "umask 027",
        f"startup_script \"/bin/sh -c 'sleep 0.3; echo first >>{trace}'\"",
        f"shutdown_script \"/bin/sh -c 'echo last $(ip -4 -o addr show eth0 | grep -c {VIP}) >>{trace}'\"",
    )
    started = time.monotonic()
    text = config(
        instance((f"{VIP}/24",), f"notify_stop \"/bin/sh -c 'sleep 0.5; echo stop $(umask) >>{trace}'\""), globals=lines
    )
    daemon = a.run(Ours, text)
    alone.wait_owner(VIP, "a", 10)
    assert trace.read_text() == "first\n"
    assert time.monotonic() - started > 0.3
    assert "startup_script /bin/sh: exit status 0" in daemon.log()
    assert daemon.stop() == 0
    assert trace.read_text() == "first\nstop 0027\nlast 0\n"
    assert trace.stat().st_mode & 0o777 == 0o640


def test_a_stop_during_the_startup_script_ends_both(alone: Lab) -> None:
    a = alone["a"]
    text = config(
        instance(("10.0.0.100/24",), "use_vmac"), globals=("script_user root", 'startup_script "/bin/sleep 60"')
    )
    daemon = a.run(Ours, text)
    alone.wait(lambda: len(daemon.pids()) > 2, 5, "the script runs")
    assert "vrrp.51" in a.command("ip", "-o", "link"), "what has to be there before the script"
    assert daemon.stop(5) == 0
    assert "the daemon is stopping" in daemon.log()
    assert not alone.adverts("a")
    assert "vrrp.51" not in a.command("ip", "-o", "link"), "what was made is undone"


def test_the_vrrp_process_is_scheduled_as_the_file_says(alone: Lab) -> None:
    lines = ("process_name kp", "vrrp_process_name kp_vrrp", "vrrp_rt_priority 7", "vrrp_cpu_affinity 0")
    daemon = alone["a"].run(Ours, config(instance(), globals=lines))
    alone.wait_owner(VIP, "a", 10)
    pid = daemon.vrrp_pid()
    alone.wait(lambda: os.sched_getscheduler(pid) & ~0x40000000 == os.SCHED_RR, 3, "real time")
    assert os.sched_getparam(pid).sched_priority == 7
    assert os.sched_getaffinity(pid) == {0}
    assert (comm(daemon.pid), comm(pid)) == ("kp", "kp_vrrp")
    daemon.reload(config(instance(), globals=("vrrp_priority -5",)))
    alone.wait(lambda: daemon.vrrp_pid() != pid, 5, "another process")
    pid = daemon.vrrp_pid()
    alone.wait(lambda: os.sched_getscheduler(pid) & ~0x40000000 == os.SCHED_OTHER, 3, "no real time")
    assert os.getpriority(os.PRIO_PROCESS, pid) == -5
    alone.wait(lambda: (comm(daemon.pid), comm(pid)) == ("vrrpd", "vrrpd-vrrp"), 3, "other names")


def test_the_vrrp_process_in_real_time_has_its_bounds(alone: Lab) -> None:
    """Memory that is never swapped, a limit of time without a wait, a priority that rises when it does not suffice."""
    lines = ("process_names", "vrrp_no_swap", "vrrp_rlimit_rttime 200000")
    lines += ("max_auto_priority 2", "min_auto_priority_delay 100000")
    text = config(instance(priority=255, state="MASTER", interval=2.0), globals=lines)
    daemon = alone["a"].run(Ours, text)
    alone.wait_owner(VIP, "a", 10)
    pid = daemon.vrrp_pid()
    assert (comm(daemon.pid), comm(pid)) == ("keepalived", "keepalived_vrrp")
    alone.wait(lambda: os.sched_getscheduler(pid) & ~0x40000000 == os.SCHED_RR, 3, "real time")
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max realtime timeout +200000 +unlimited +us", limits)
    status = Path(f"/proc/{pid}/status").read_text()
    assert int(re.findall(r"VmLck:\s+(\d+) kB", status)[0]) > 1000
    os.kill(pid, signal.SIGXCPU)  # as the kernel would
    alone.wait(lambda: "200000 us (vrrp_rlimit_rttime) without a wait" in daemon.log(), 3, "it is said")
    alone.wait(lambda: os.sched_getscheduler(pid) & ~0x40000000 == os.SCHED_RR, 3, "real time again")
    for _ in range(2):  # the second time it is at its most
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.7)
        os.kill(pid, signal.SIGCONT)
        alone.wait(lambda: os.sched_getparam(pid).sched_priority == 2, 3, "another priority")
    assert daemon.log().count("late: real-time priority 2 (max_auto_priority 2)") == 1
    assert daemon.vrrp_pid() == pid
    assert daemon.instance()["state"] == "MASTER"
    with daemon.connect(60) as sock:
        sock.sendall(json.dumps({"cmd": "upgrade", "release": str(ROOT)}).encode() + b"\n")
        assert json.loads(sock.makefile("rb").readline())["ok"]
    assert (comm(daemon.pid), comm(daemon.vrrp_pid())) == ("keepalived", "keepalived_vrrp")


HOG = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from vrrpd.model.globals import GlobalDefs
from vrrpd.scheduling import Scheduling
said = []
scheduling = Scheduling(GlobalDefs(vrrp_rlimit_rttime=20000, vrrp_rt_priority=3), lambda *line: said.append(line))
policy = lambda: os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
assert list(scheduling.settle()) == [("real-time scheduling", True)]
for turn in (1.0, 100.0):
    since = time.process_time()
    while policy() == os.SCHED_RR and time.process_time() - since < 0.5:
        pass
    assert policy() == os.SCHED_OTHER, "it goes on in real time"
    assert 0.01 < time.process_time() - since < 0.3
    scheduling.rested(turn)
    assert (policy(), os.sched_getparam(0).sched_priority) == (os.SCHED_RR, 3)
assert [level for level, line in said] == ["warning", "warning"]
"""


def test_who_runs_longer_in_real_time_than_vrrp_rlimit_rttime_goes_on_beside_others(alone: Lab) -> None:
    command = [sys.executable, "-I", "-S", "-c", HOG, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr


def test_a_reload_at_a_time_that_a_file_says(alone: Lab) -> None:
    a = alone["a"]
    file, log = a.folder / "time", a.folder / "check"
    lines = (f"reload_time_file {file}", f"reload_check_config {log}")
    daemon = a.run(Ours, config(instance(), globals=lines))
    alone.wait_owner(VIP, "a", 10)
    daemon.config.write_text(config(instance(("10.0.0.101/24",)), globals=lines))
    file.write_text(time.strftime("%H:%M:%SZ\n", time.gmtime(time.time() + 2)))
    alone.wait_owner("10.0.0.101", "a", 6)
    assert not file.exists()
    assert log.read_text() == "nothing was found\n"
    assert daemon.running()


NAMESPACES = ("vrrpd-test-one", "vrrpd-test-two")


@pytest.fixture
def namespaces() -> Iterator[None]:
    """Two namespaces as `ip netns` makes them, joined by a cable."""
    for name in NAMESPACES:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "add", name], check=True)
    one, two = NAMESPACES
    subprocess.run(
        f"ip link add eth0 netns {one} type veth peer name eth0 netns {two} &&"
        f"ip -n {one} addr add 10.0.0.1/24 dev eth0 && ip -n {two} addr add 10.0.0.2/24 dev eth0 &&"
        f"ip -n {one} link set eth0 up && ip -n {two} link set eth0 up",
        shell=True,
        check=True,
    )
    try:
        yield
    finally:
        for name in NAMESPACES:
            subprocess.run(["ip", "netns", "del", name], check=False)


def vrrpctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vrrpd.vrrpctl", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def holds(namespace: str) -> bool:
    out = subprocess.run(["ip", "-n", namespace, "addr"], capture_output=True, text=True, check=False).stdout
    return f"{VIP}/24" in out


def until(condition: object, what: str) -> None:
    end = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_two_daemons_of_one_machine_in_two_namespaces(namespaces: None, tmp_path: Path) -> None:
    """Started side by side by their configuration alone; the better one is killed with all of its processes."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    run_dirs = {name: Path(f"/run/vrrpd_{name}_{n}") for n, name in enumerate(NAMESPACES, 1)}
    try:
        for number, name in enumerate(NAMESPACES, 1):
            path = tmp_path / f"{name}.conf"
            head = f"net_namespace {name}\ninstance {number}\n"
            path.write_text(head + config(instance(priority=100 - number)))
            with open(tmp_path / name, "wb") as log:
                command = [sys.executable, "-m", "vrrpd", "-n", "-l", "-f", str(path)]
                running[name] = subprocess.Popen(command, cwd=ROOT, stderr=log)
        one, two = NAMESPACES
        until(lambda: holds(one) and not holds(two), "one has the address")
        there = ("--namespace", two, "--instance", "2")
        until(lambda: '"address": "10.0.0.1"' in vrrpctl(*there, "--json", "status").stdout, "two hears one")
        assert "MASTER" in vrrpctl("status", "--namespace", one, "--instance", "1").stdout
        other = vrrpctl("status", "--instance", "3")
        assert other.returncode == 3
        assert str(run_dirs[one]) in other.stderr
        assert {path.name for path in run_dirs[one].glob("*.pid")} == {"vrrpd.pid", "vrrp.pid"}
        # Its name cannot change while it runs.
        (tmp_path / f"{one}.conf").write_text(f"net_namespace {two}\ninstance 1\n" + config(instance()))
        refused = vrrpctl("--namespace", one, "--instance", "1", "reload")
        assert refused.returncode == 5
        assert "net_namespace: a reload cannot change it" in refused.stderr
        # Killed with everything: what it left is undone where it was.
        pids = [running[one].pid, *children(running[one].pid)]
        for sig in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids[::-1]:
                os.kill(pid, sig)
        running[one].wait(5)
        until(lambda: holds(two), "two takes over")
        assert holds(one)
        command = [sys.executable, "-m", "vrrpd", "--execute-will", "--run-dir", str(run_dirs[one])]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        assert not holds(one)
    finally:
        for process in running.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            process.wait(10)
        subprocess.run(["rm", "-rf", *map(str, run_dirs.values())], check=False)


def test_a_namespace_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_text("net_namespace vrrpd-test-nowhere\n" + config(instance()))
    command = [sys.executable, "-m", "vrrpd", "-n", "-l", "-f", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 4
    assert "make it with: ip netns add vrrpd-test-nowhere" in done.stderr
