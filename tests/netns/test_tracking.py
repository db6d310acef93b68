"""Trackers with the whole daemon: real scripts, files and processes, and a keepalived beside us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import ROOT, Keepalived, Lab, Ours, config, instance, now

VIP = "10.0.0.100"


@pytest.fixture
def alone() -> Iterator[Lab]:
    with Lab("a") as made:
        yield made


def switch(folder: Path, name: str = "switch") -> Path:
    """What a script looks at: its contents are the script's."""
    path = folder / name
    path.write_text("exit 0")
    return path


def script(name: str, path: Path, *lines: str) -> str:
    return f'vrrp_script {name} {{\n script "/bin/sh {path}"\n' + "".join(f" {line}\n" for line in lines) + "}\n"


def tracking(kind: str, *lines: str) -> str:
    return f"track_{kind} {{\n" + "\n".join(lines) + "\n}"


def fast(*lines: str, priority: int = 100) -> str:
    return instance((f"{VIP}/24",), *lines, priority=priority)


def another(lab: Lab, daemon: Ours, victim: str) -> None:
    """Kill one of its processes, and wait until there is the next."""
    former = daemon.processes()[victim]
    os.kill(former, signal.SIGKILL)
    lab.wait(lambda: daemon.answers() and daemon.processes().get(victim) not in (former, None), 5, "the next one")


def tracker(daemon: Ours, name: str) -> dict[str, Any]:
    """The helper's side of it."""
    found: dict[str, Any] = next(each for each in daemon.status()["trackers"] if each["name"] == name)
    return found


def vrrpctl(daemon: Ours, *arguments: str) -> str:
    command = [sys.executable, "-m", "vrrpd.vrrpctl", "--socket", daemon.socket_path, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout


# ------------------------------------------------------------------------------------------ scripts


def test_a_weight_moves_the_address_and_without_one_it_is_a_fault(lab: Lab) -> None:
    a, b = lab["a"], lab["b"]
    looked_at = switch(a.folder)
    weighted = fast(tracking("script", "chk"), priority=150)
    a.run(Ours, script("chk", looked_at, "interval 0.1", "weight -100") + config(weighted))
    b.run(Ours, config(fast(priority=100)))
    lab.wait_owner(VIP, "a", 5)
    looked_at.write_text("exit 3")
    lab.wait_owner(VIP, "b", 3)
    assert lab.adverts("a")[-1].priority == 50
    shown = a.ours.instance()
    assert (shown["priority"], shown["trackers"][0]["said"]) == (50, "failed (exit status 3)")
    looked_at.write_text("exit 0")
    lab.wait_owner(VIP, "a", 3)
    # the same script without a weight: FAULT at once, and its words in the status
    a.ours.reload(script("chk", looked_at, "interval 0.1") + config(weighted))
    lab.wait(lambda: a.ours.instance()["trackers"][0]["weight"] == 0, 5, "reloaded")
    assert lab.held.owners(VIP) == {"a"}
    looked_at.write_text("kill -SEGV $$")
    lab.wait_owner(VIP, "b", 3)
    assert "FAULT" in vrrpctl(a.ours, "status")
    assert "script chk failed (killed by SIGSEGV) since" in vrrpctl(a.ours, "status", "VI_1")


def test_a_script_that_hangs(alone: Lab) -> None:
    """What outlives its timeout has failed, is ended with all that it started, and a run that is due is left out."""
    a = alone["a"]
    looked_at = switch(a.folder)
    child = a.folder / "child"
    text = script("chk", looked_at, "interval 0.1", "timeout 0.3", "rise 2")
    daemon = a.run(Ours, text + config(fast(tracking("script", "chk"))))
    assert isinstance(daemon, Ours)
    alone.wait_owner(VIP, "a", 5)
    looked_at.write_text(f"trap '' TERM\nsleep 60 &\necho $! >{child}\nwait; sleep 60")
    alone.wait(lambda: not alone.held.owners(VIP), 5, "FAULT")
    assert "script chk timed out after 0.3 s" in a.ours.instance()["faults"]
    numbers = tracker(daemon, "chk")
    assert numbers["timeouts"] == 1
    assert numbers["skipped"] >= 2
    pid = int(child.read_text())
    looked_at.write_text("exit 0")
    alone.wait_owner(VIP, "a", 6)
    alone.wait(lambda: not os.path.exists(f"/proc/{pid}"), 1, "what it started has ended")


def test_verdicts_outlive_the_helper_the_vrrp_process_and_a_reload(lab: Lab) -> None:
    """fall and rise are out of reach, so that whoever forgets the verdict starts anew."""
    a, b = lab["a"], lab["b"]
    good, bad = switch(a.folder, "good"), switch(a.folder, "bad")
    bad.write_text("exit 1")
    text = script("good", good, "interval 0.1", "weight 10", "fall 5000")
    text += script("bad", bad, "interval 0.1", "weight -20", "rise 5000")
    text += config(fast(tracking("script", "good", "bad"), priority=150))
    a.run(Ours, text)
    b.run(Ours, config(fast(priority=130)))
    lab.wait(lambda: a.ours.status() and a.ours.instance()["priority"] == 140, 5, "both verdicts are there")
    lab.wait_owner(VIP, "a", 5)
    good.write_text("exit 1")  # from now on each says the opposite, and is not believed
    bad.write_text("exit 0")
    since = now()
    for victim in ("helper", "vrrp"):
        another(lab, a.ours, victim)
        lab.wait(lambda: tracker(a.ours, "good")["runs"] > 2, 3, "it runs scripts")
        assert a.ours.instance()["priority"] == 140
    a.ours.reload(text.replace("weight 10", "weight 12"))
    lab.wait(lambda: a.ours.instance()["priority"] == 142, 5, "reloaded")
    runs = tracker(a.ours, "good")["runs"]
    lab.wait(lambda: tracker(a.ours, "good")["runs"] > runs + 1, 3, "it goes on")
    assert a.ours.instance()["priority"] == 142
    assert {advert.priority for advert in lab.adverts("a", since=since)} == {140, 142}
    assert lab.held.owners(VIP) == {"a"}


def test_a_check_that_runs_when_its_helper_dies_is_ended(alone: Lab) -> None:
    """With all that it started, and before it is run again: never two at a time. A notify script goes on."""
    a = alone["a"]
    looked_at, pids, told = switch(a.folder), a.folder / "pids", a.folder / "told"
    told.write_text(f"echo $$ >>{a.folder}/notified\nwhile ! test -e {a.folder}/go; do sleep 0.02; done\n")
    text = script("chk", looked_at, "interval 0.1", "timeout 60") + config(
        fast(tracking("script", "chk"), f'notify_master "/bin/sh {told}"'), globals=("script_user root",)
    )
    daemon = a.run(Ours, text)
    assert isinstance(daemon, Ours)
    alone.wait_owner(VIP, "a", 5)
    notified = a.folder / "notified"
    alone.wait(notified.exists, 5, "the notify script runs")
    looked_at.write_text(f"trap '' TERM\nsleep 600 &\necho $$ $! >>{pids}\nwait; sleep 600")
    alone.wait(lambda: pids.exists() and len(pids.read_text().split()) == 2, 5, "it runs")
    alive = f"grep -qs 'State:.[^Z]' /proc/$(cut -d' ' -f1 {pids})/status"
    looked_at.write_text(f"{alive} && touch {a.folder}/two; exit 0")
    another(alone, daemon, "helper")
    alone.wait(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids.read_text().split()), 5, "both end")
    alone.wait(lambda: tracker(daemon, "chk")["runs"] > 1, 3, "it is run again")
    assert not (a.folder / "two").exists()
    assert alone.held.owners(VIP) == {"a"}
    assert os.path.exists(f"/proc/{int(notified.read_text())}")
    (a.folder / "go").touch()


def test_a_start_waits_for_the_first_result(alone: Lab) -> None:
    a = alone["a"]
    looked_at = switch(a.folder)
    looked_at.write_text("sleep 1")
    daemon = a.run(Ours, script("chk", looked_at, "timeout 3") + config(fast(tracking("script", "chk"))))
    assert isinstance(daemon, Ours)
    assert a.ours.instance()["state"] == "INIT"
    assert "waiting for the first result of script chk" in vrrpctl(daemon, "status")
    alone.wait_owner(VIP, "a", 5)


def test_a_hundred_scripts_do_not_start_in_one_instant(alone: Lab) -> None:
    a = alone["a"]
    starts = a.folder / "starts"
    text = "".join(f"vrrp_script s{n} {{\n script \"/bin/sh -c 'date +%s.%N >>{starts}'\"\n}}\n" for n in range(100))
    names = tracking("script", *(f"s{n}" for n in range(100)))
    daemon = a.run(Ours, text + config(fast(names)))
    alone.wait_owner(VIP, "a", 6)
    first = sorted(map(float, starts.read_text().split()))[:100]
    assert first[-1] - first[0] > 0.7
    assert daemon.stop() == 0


def test_the_same_weights_beside_keepalived(lab: Lab) -> None:
    """One file for both makes; whoever's script fails goes below the other one, and comes back."""
    text = {}
    for name in "ab":
        looked_at = switch(lab[name].folder)
        weighted = instance((f"{VIP}/24",), tracking("script", "chk"), priority=150 if name == "a" else 140, interval=1)
        text[name] = script("chk", looked_at, "interval 1", "weight -30") + config(
            weighted, globals=("script_user root", "enable_script_security")
        )
        looked_at.chmod(0o755)
        lab[name].folder.chmod(0o755)
    lab["a"].run(Ours, text["a"])
    lab["b"].run(Keepalived, text["b"])
    lab.wait_owner(VIP, "a", 8)
    (lab["a"].folder / "switch").write_text("exit 1")
    lab.wait_owner(VIP, "b", 8)
    (lab["b"].folder / "switch").write_text("exit 1")
    lab.wait_owner(VIP, "a", 8)
    assert lab.adverts("a")[-1].priority == 120
    assert {advert.priority for advert in lab.adverts("b")} <= {140, 110}


# ------------------------------------------------------------------------------------------ files


def test_a_file_counts_as_soon_as_it_is_written(lab: Lab) -> None:
    a, b = lab["a"], lab["b"]
    number = a.folder / "number"
    text = f"track_file n {{\n file {number}\n init_file 3\n}}\n" + config(fast(tracking("file", "n"), priority=150))
    a.run(Ours, text)
    b.run(Ours, config(fast(priority=130)))
    lab.wait(lambda: a.ours.answers() and a.ours.instance()["priority"] == 153, 5, "made at the start")
    lab.wait_owner(VIP, "a", 5)
    number.write_text("-50")
    lab.wait_owner(VIP, "b", 1.5)
    another(lab, a.ours, "helper")
    lab.wait(lambda: a.ours.status()["trackers"], 3, "it is watched again")
    assert number.read_text() == "-50", "init_file is for the start of the daemon"
    fresh = a.folder / "fresh"
    fresh.write_text("20")
    fresh.rename(number)
    lab.wait_owner(VIP, "a", 1.5)
    number.write_text("-300")
    lab.wait_owner(VIP, "b", 1.5)
    assert a.ours.instance()["faults"] == ["tracked file n holds -300, weight 1"]
    number.unlink()
    lab.wait(lambda: a.ours.instance()["priority"] == 150, 1.5, "as 0")


# ------------------------------------------------------------------------------------------ processes


def test_a_process_is_missed(alone: Lab) -> None:
    """In a namespace of its own the kernel tells nothing of processes: we say so, and look."""
    a = alone["a"]
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = f'process {program[0]} -c "import time;"'
    block = f"vrrp_track_process p {{\n {process}\n param_match initial\n}}\n"
    daemon = a.run(Ours, block + config(fast(tracking("process", "p"))))
    assert isinstance(daemon, Ours)
    alone.wait(lambda: daemon.answers() and daemon.instance()["state"] == "FAULT", 5, "it does not run")
    assert daemon.instance()["faults"] == ["process p is not running"]
    assert "the kernel does not tell of processes here" in daemon.log()
    tracked = subprocess.Popen(program)
    try:
        alone.wait_owner(VIP, "a", 5)
    finally:
        tracked.kill()
        tracked.wait()
    alone.wait(lambda: not alone.held.owners(VIP), 3, "it has ended")
