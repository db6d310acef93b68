"""AH and auth_hmac on the wire: what a reload, an upgrade, a crash or the end of everything must not cost.

That keepalived and we understand each other, started, stopped and killed in both directions, is test_interop.py's.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from test_upgrade import release, upgrade

from lab import ROOT, Keepalived, Lab, Ours, config, instance, now

VIP = "10.0.0.100"
KEYS = {number: f"hex:{number:02x}" + "5a" * 31 for number in (1, 2)}
AH = "authentication {\nauth_type AH\nauth_pass secret12\n}"
REJECTED = re.compile(r"^(auth_ext|ah)_")


def hmac(active: int = 1, keys: tuple[int, ...] = (1,), mode: str = "enforce") -> str:
    listed = "\n".join(f"key {number} {KEYS[number]}" for number in keys)
    return f"auth_hmac {{\n{listed}\nactive_key {active}\nmode {mode}\n}}"


def conf(priority: int, auth: str, *lines: str, interval: float = 0.1) -> str:
    version = 2 if auth == AH else 3
    return config(instance((f"{VIP}/24",), auth, *lines, priority=priority, interval=interval, version=version))


def pair(lab: Lab, auth: str, interval: float = 0.1) -> tuple[Ours, Ours]:
    """a is MASTER, b follows it."""
    for name, priority in (("a", 200), ("b", 100)):
        lab[name].run(Ours, conf(priority, auth, interval=interval))
    lab.wait_owner(VIP, "a", 12)
    lab.wait(lambda: lab["b"].ours.answers() and heard(lab["b"].ours) > 1, 5, "b follows a")
    return lab["a"].ours, lab["b"].ours


def heard(daemon: Ours) -> int:
    return daemon.counters()["advert_rcvd"]


def believed(lab: Lab, since: float, by: Ours, least: int) -> None:
    """Since then only a adverts, the other one believes it, and has rejected nothing of it."""
    before = heard(by)
    lab.wait(lambda: heard(by) >= before + least, 10, "adverts of a are believed")
    assert not lab.adverts("b", since=since)
    assert not lab.changes(VIP, since)
    assert not {k: v for k, v in by.counters().items() if REJECTED.search(k) and v}


# ------------------------------------------------------------------------------------------------- AH, keepalived
def test_ah_keepalived_believes_every_successor_of_ours(lab: Lab) -> None:
    """Reload, crash, upgrade: its one counter of the group never meets a number that it has seen."""
    master = lab["a"].run(Ours, conf(250, AH, interval=1))
    lab["b"].run(Keepalived, conf(100, AH, interval=1))
    assert isinstance(master, Ours)
    lab.wait_owner(VIP, "a", 12)
    lab.wait(lambda: len(lab.adverts("a")) > 2, 8, "adverts")
    since = now()
    assert master.ask("reload")["ok"]
    os.kill(master.vrrp_pid(), signal.SIGKILL)
    lab.wait(lambda: len(lab.adverts("a", since=since)) > 2, 8, "it is adopted")
    assert upgrade(master, release(lab, "2.0"))["ok"]
    done = now()
    lab.wait(lambda: len(lab.adverts("a", since=done)) > 4, 12, "longer than keepalived would wait")
    assert not lab.adverts("b", since=since)
    assert lab.held.owners(VIP) == {"a"}
    # The last words of one whom nobody can succeed are believed, too: it takes over in its skew time.
    killed = now()
    master.kill()
    assert execute_will(master) == 0
    lab.wait_owner(VIP, "b", 4)
    resigned = next(f for f in lab.adverts("a", since=killed) if not f.priority)
    taken = next(f for f in lab.adverts("b", since=killed) if f.priority)
    assert taken.at - resigned.at < 1
    assert "IPSEC" not in lab["b"].daemon.log()


def execute_will(daemon: Ours) -> int:
    """What ExecStopPost= does."""
    with daemon.host.inside():
        return subprocess.run([*daemon.argv(), "--execute-will"], cwd=ROOT, check=False, timeout=20).returncode


# ------------------------------------------------------------------------------------------------- auth_hmac
def test_hmac_a_successor_is_believed_and_believes_no_capture(lab: Lab) -> None:
    master, backup = pair(lab, hmac())
    since = now()
    captured = lab.adverts("a")[-1].frame
    assert master.ask("reload")["ok"]
    assert backup.ask("reload")["ok"]
    os.kill(master.vrrp_pid(), signal.SIGKILL)
    assert upgrade(backup, release(lab, "2.0"))["ok"]
    believed(lab, since, backup, 8)
    # The heir of a heir knows what was heard: the same datagram again is a replay, to it as to the master itself.
    lab.inject(captured)
    lab.wait(lambda: backup.counters()["auth_ext_replay"] == 1, 5, "a replay is counted")
    assert heard(master) == 0


def test_hmac_the_will_of_one_that_was_killed_with_everything_is_believed(lab: Lab) -> None:
    master, backup = pair(lab, hmac(), interval=1)
    captured = [f.frame for f in lab.adverts("a")]
    killed = now()
    master.kill()
    assert execute_will(master) == 0
    lab.wait_owner(VIP, "b", 4)
    resigned = next(f for f in lab.adverts("a", since=killed) if not f.priority)
    taken = next(f for f in lab.adverts("b", since=killed) if f.priority)
    assert taken.at - resigned.at < 1, "in its skew time"
    # Whoever speaks as the dead one did deposes nobody.
    lab.inject(*captured)
    lab.steady(lambda: lab.held.owners(VIP) == {"b"}, 0.5, "b stays")
    counters = backup.counters()
    assert counters["auth_ext_replay"] + counters["auth_ext_stale"] == len(captured)


def test_hmac_keys_are_rotated_and_introduced_without_an_outage(lab: Lab) -> None:
    """What playbooks/rotate_keys.yml does, in its order; a forger without a key is never heard."""
    master, backup = pair(lab, hmac(mode="receive-only"))
    since = now()
    phases = [
        hmac(mode="permissive"),
        hmac(),
        hmac(1, (1, 2)),
        hmac(2, (1, 2)),
        hmac(2, (2,)),
    ]
    for auth in phases:
        for daemon, priority in ((backup, 100), (master, 200)):
            daemon.config.write_text(conf(priority, auth))
            reply = daemon.ask("reload")
            assert reply["ok"], reply
        before = heard(backup)
        lab.wait(lambda: heard(backup) > before + 1, 5, "adverts are believed")  # noqa: B023
    shown = backup.instance()
    assert shown["auth_hmac"] == {
        "mode": "enforce", "active_key": 2, "keys": [2], "anti_replay": "time", "time_window": 5,
    }  # fmt: skip
    wrong = {k: v for k, v in shown["counters"].items() if REJECTED.search(k) and v}
    assert wrong.keys() <= {"auth_ext_missing"}, "counted while it was permissive"
    assert not lab.adverts("b", since=since)
    assert not lab.changes(VIP, since)


def test_hmac_secrets_are_nowhere_to_be_read(lab: Lab) -> None:
    """Not in logs, status, process lists; on disk in the will alone, which only root may read."""
    master, _ = pair(lab, hmac())
    secret = KEYS[1][4:]
    seen = master.log() + str(master.status()) + Path(f"/proc/{master.pid}/cmdline").read_text()
    assert secret not in seen
    folder = Path(f"{master.pidfile}.d")
    holders = [path for path in folder.rglob("*") if path.is_file() and secret in path.read_text(errors="replace")]
    assert [path.name for path in holders] == ["will.json"]
    assert holders[0].stat().st_mode & 0o777 == 0o600
    assert holders[0].parent.stat().st_mode & 0o777 == 0o700


def test_hmac_from_a_virtual_mac_address(lab: Lab) -> None:
    """Frames have nobody who completes their checksum: over IPv6 it covers the trailer."""
    for name, priority in (("a", 200), ("b", 100)):
        six = config(instance(("fe80::100/64", "fd00::100/64"), hmac(), "use_vmac", priority=priority, interval=0.1))
        lab[name].run(Ours, six)
    lab.wait(lambda: lab.adverts("a"), 12, "a adverts")
    backup = lab["b"].ours
    lab.wait(lambda: heard(backup) > 3, 5, "b believes it")
    assert not {k: v for k, v in backup.counters().items() if (REJECTED.search(k) or k.endswith("_err")) and v}


def test_a_key_file_that_others_may_read_is_refused(lab: Lab) -> None:
    path = lab.folder / "key"
    path.write_text(KEYS[1] + "\n")
    text = conf(100, f"auth_hmac {{\nkey 1 file:{path}\nactive_key 1\n}}")
    for mode, status in ((0o640, 4), (0o600, 0)):
        path.chmod(mode)
        (lab.folder / "k.conf").write_text(text)
        argv = [sys.executable, "-m", "vrrpd", "-t", "-f", str(lab.folder / "k.conf")]
        with lab["a"].inside():
            done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert KEYS[1][4:] not in done.stdout + done.stderr
    path.chmod(0o644)
