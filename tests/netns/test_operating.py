"""What an operator meets: scripts, mail, vrrpctl and the helper's own death, with the whole daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import ROOT, Host, Lab, Ours, config, instance, now

VIP = "10.0.0.100"
SMTP_SERVER = ROOT / "tests" / "unit" / "smtp_server.py"


@pytest.fixture
def alone() -> Iterator[Lab]:
    with Lab("a") as made:
        yield made


def start(host: Host, text: str) -> Ours:
    """The daemon, with a state directory of its own."""
    daemon = host.run(Ours, text, options=("--state-dir", str(host.folder / "state")))
    assert isinstance(daemon, Ours)
    return daemon


def vrrpctl(daemon: Ours, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vrrpd.vrrpctl", "--socket", daemon.socket_path, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def notify(folder: Path, *keywords: str) -> tuple[Path, list[str]]:
    """Lines that have every keyword write its name and arguments into a file."""
    trace, script = folder / "trace", folder / "notify.sh"
    trace.touch()
    script.write_text(f'#!/bin/sh\necho "$@" >>{trace}\n')
    script.chmod(0o755)
    return trace, [f'{keyword} "{script} {keyword}"' for keyword in keywords]


# ------------------------------------------------------------------------------------------ scripts


def test_scripts_tell_the_life_of_an_instance_in_order(alone: Lab) -> None:
    a = alone["a"]
    trace, lines = notify(
        a.folder, "notify_master", "notify_backup", "notify_fault", "notify_stop", "notify_deleted", "notify"
    )
    daemon = start(a, config(instance((f"{VIP}/24",), *lines, priority=150)))
    alone.wait_owner(VIP, "a", 5)
    a.ip("link set eth0 down")
    alone.wait(lambda: "FAULT" in trace.read_text(), 5, "the fault is told")
    a.ip("link set eth0 up")
    alone.wait(lambda: trace.read_text().count("notify_master") == 2, 5, "master again")
    assert daemon.stop() == 0
    states = ["BACKUP 150", "MASTER 150", "FAULT 150", "BACKUP 150", "MASTER 150", "STOP 150"]
    assert trace.read_text().splitlines() == [
        line for state in states for line in (f"notify_{state.split()[0].lower()}", f"notify INSTANCE VI_1 {state}")
    ]


def test_a_removed_instance_says_so_after_the_reload(alone: Lab) -> None:
    """keepalived 2.2.7: FAULT to notify, notify_fault not run; with notify_deleted DELETED and its command."""
    a = alone["a"]
    trace, lines = notify(a.folder, "notify_fault", "notify")
    deleted = notify(a.folder, "notify_deleted")[1]
    kept = instance((f"{VIP}/24",), priority=150)
    plain = instance(("10.0.0.101/24",), *lines, name="PLAIN", vrid=52, priority=150)
    told = instance(("10.0.0.102/24",), *lines, *deleted, name="TOLD", vrid=53, priority=150)
    daemon = start(a, config(kept, plain, told))
    alone.wait(lambda: trace.read_text().count("MASTER") == 2, 5, "both are masters")
    before = len(trace.read_text())
    daemon.config.write_text(config(kept))
    assert vrrpctl(daemon, "reload").stdout == "reloaded; changed: PLAIN, TOLD\n"
    alone.wait(lambda: trace.read_text()[before:].count("\n") == 3, 5, "the scripts ran")
    assert sorted(trace.read_text()[before:].splitlines()) == [
        "notify INSTANCE PLAIN FAULT 150",
        "notify INSTANCE TOLD DELETED 150",
        "notify_deleted",
    ]


def test_a_slow_stop_script_delays_the_end_of_the_daemon_not_the_handover(lab: Lab) -> None:
    a, b = lab["a"], lab["b"]
    done = a.folder / "done"
    daemon = start(
        a, config(instance((f"{VIP}/24",), f"notify_stop \"/bin/sh -c 'sleep 1; touch {done}'\"", priority=200))
    )
    start(b, config(instance((f"{VIP}/24",), priority=100)))
    lab.wait_owner(VIP, "a", 5)
    daemon.terminate()
    lab.wait_owner(VIP, "b", 0.8)
    assert not done.exists()
    assert daemon.process is not None
    assert daemon.process.wait(10) == 0
    assert done.exists()


def test_a_seed_script_that_does_not_exist_is_one_line(alone: Lab) -> None:
    a = alone["a"]
    daemon = start(a, config(instance((f"{VIP}/24",), 'notify_master "/usr/sbin/no-such-service iscsitarget restart"')))
    alone.wait_owner(VIP, "a", 5)
    alone.wait(lambda: "notify_master: /usr/sbin/no-such-service does not exist" in daemon.log(), 5, "logged")
    assert alone.held.owners(VIP) == {"a"}


# ------------------------------------------------------------------------------------------ mail


def test_state_changes_arrive_at_a_real_mail_server(alone: Lab) -> None:
    a = alone["a"]
    a.ip("link set lo up")
    with a.inside():
        server = subprocess.Popen([sys.executable, str(SMTP_SERVER)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        port = json.loads(server.stdout.readline())["port"]
        mail = (
            "notification_email {\n admin@example.net\n }",
            "notification_email_from noreply@example.net",
            f"smtp_server 127.0.0.1 {port}",
            "smtp_alert on",
        )
        daemon = start(a, config(instance((f"{VIP}/24",)), globals=mail))
        alone.wait_owner(VIP, "a", 5)
        alone.wait(lambda: daemon.status()["mail"]["sent"] == 2, 5, "two mails are sent")
        assert daemon.stop() == 0
    finally:
        server.kill()
        said, _ = server.communicate()
    mails = [event["content"] for event in map(json.loads, said.splitlines()) if event["event"] == "DATA"]
    subjects = [line for text in mails for line in text.split("\r\n") if line.startswith("Subject: ")]
    assert subjects == [
        "Subject: [lab] VRRP Instance VI_1 - Entering BACKUP state",
        "Subject: [lab] VRRP Instance VI_1 - Entering MASTER state",
        "Subject: [lab] VRRP Instance VI_1 - Stopping",
    ]
    assert mails[1].endswith("\r\n\r\n=> VRRP Instance is now owning VRRP VIPs <=\r\n\r\n")


def test_a_mail_server_that_swallows_packets_does_not_touch_the_protocol(lab: Lab) -> None:
    mail = ("notification_email {\n admin@example.net\n }", "smtp_server 10.0.0.250", "smtp_alert on")
    start(lab["a"], config(instance((f"{VIP}/24",), priority=200), globals=mail))
    lab.wait_owner(VIP, "a", 5)
    since = now()
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 1.5, "a goes on")
    times = [advert.at for advert in lab.adverts("a", since=since)]
    assert max(later - earlier for earlier, later in zip(times, times[1:])) < 0.2


# ------------------------------------------------------------------------------------------ vrrpctl


def test_vrrpctl_shows_and_steers(lab: Lab) -> None:
    a = start(lab["a"], config(instance((f"{VIP}/24",), priority=200)))
    start(lab["b"], config(instance((f"{VIP}/24",), priority=100)))
    lab.wait_owner(VIP, "a", 5)
    shown = vrrpctl(a, "status")
    assert shown.returncode == 0
    assert " ".join(shown.stdout.splitlines()[3].split()).startswith("VI_1 MASTER")
    assert "this node" in shown.stdout

    assert vrrpctl(a, "handover", "VI_1").returncode == 0
    lab.wait_owner(VIP, "b", 5)
    refused = vrrpctl(a, "handover", "VI_9")
    assert (refused.returncode, refused.stderr) == (1, "vrrpctl: no vrrp_instance or vrrp_sync_group VI_9\n")

    a.config.write_text(a.config.read_text().replace("priority 200", "prioritty 200"))
    refused = vrrpctl(a, "reload")
    assert refused.returncode == 5
    assert "unknown keyword 'prioritty'" in refused.stderr
    assert "^^^^^^^^^" in refused.stderr
    a.config.write_text(a.config.read_text().replace("prioritty 200", "priority 150"))
    done = vrrpctl(a, "reload")
    assert (done.returncode, done.stdout) == (0, "reloaded; changed: VI_1\n")
    assert vrrpctl(a, "status", "--json", "VI_1").stdout.count('"base_priority": 150') == 1


def test_maintenance_survives_a_restart_and_ends_on_request(lab: Lab) -> None:
    a, b = lab["a"], lab["b"]
    text = config(instance((f"{VIP}/24",), priority=200))
    daemon = start(a, text)
    start(b, config(instance((f"{VIP}/24",), priority=100)))
    lab.wait_owner(VIP, "a", 5)
    assert vrrpctl(daemon, "maintenance", "on").returncode == 0
    lab.wait_owner(VIP, "b", 5)
    assert daemon.stop() == 0
    daemon = start(a, text)
    lab.wait(daemon.answers, 5, "a runs again")
    lab.steady(lambda: lab.held.owners(VIP) == {"b"}, 1.5, "b keeps the address")
    assert "maintenance is on" in vrrpctl(daemon, "status").stdout
    assert vrrpctl(daemon, "maintenance", "off").returncode == 0
    lab.wait_owner(VIP, "a", 5)


def test_the_owner_of_the_addresses_does_not_start_against_maintenance(alone: Lab) -> None:
    """Priority 255 with state MASTER is MASTER at once: maintenance must be known before."""
    a = alone["a"]
    (a.folder / "state").mkdir()
    (a.folder / "state" / "maintenance").touch()
    since = now()
    daemon = start(a, config(instance((f"{VIP}/24",), priority=255, state="MASTER")))
    alone.wait(daemon.answers, 5, "it runs")
    alone.steady(lambda: not alone.held.owners(VIP), 1, "nobody has the address")
    assert not alone.changes(VIP, since)


# ------------------------------------------------------------------------------------------ the helper's death


def test_a_killed_helper_costs_nothing_but_its_moment(lab: Lab) -> None:
    a = lab["a"]
    trace, lines = notify(a.folder, "notify")
    daemon = start(a, config(instance((f"{VIP}/24",), *lines, priority=200)))
    lab.wait_owner(VIP, "a", 5)
    helper = daemon.status()["processes"]["helper"]
    since = now()
    os.kill(helper, signal.SIGKILL)
    lab.wait(lambda: daemon.answers() and daemon.status()["processes"]["helper"] != helper, 5, "there is a new helper")
    assert not lab.changes(VIP, since)
    assert "the helper process has ended (killed by SIGKILL)" in daemon.log()
    a.ip("link set eth0 down")
    lab.wait(lambda: "FAULT" in trace.read_text(), 5, "scripts go on")


def test_scripts_survive_the_helper_and_do_not_overlap(alone: Lab) -> None:
    a = alone["a"]
    trace, gate = a.folder / "trace", a.folder / "gate"
    slow = f"echo start-$3 >>{trace}; until [ -e {gate} ]; do sleep 0.02; done; echo end-$3 >>{trace}"
    script = a.folder / "notify.sh"
    script.write_text(f"#!/bin/sh\n{slow}\n")
    script.chmod(0o755)
    daemon = start(a, config(instance((f"{VIP}/24",), f"notify {script}", priority=200)))
    alone.wait_owner(VIP, "a", 5)
    alone.wait(lambda: daemon.status()["scripts_queued"] == 1, 5, "the script of BACKUP runs, that of MASTER waits")
    helper = daemon.status()["processes"]["helper"]
    os.kill(helper, signal.SIGKILL)
    alone.wait(
        lambda: daemon.answers() and daemon.status()["processes"]["helper"] != helper, 5, "there is a new helper"
    )
    assert daemon.status()["scripts_queued"] == 1
    gate.touch()
    alone.wait(lambda: trace.read_text().split()[-1] == "end-MASTER", 5, "both ran")
    assert trace.read_text().split() == ["start-BACKUP", "end-BACKUP", "start-MASTER", "end-MASTER"]


def test_a_hung_script_hinders_no_other_instance_and_no_advert(alone: Lab) -> None:
    a = alone["a"]
    trace, lines = notify(a.folder, "notify")
    daemon = start(
        a,
        config(
            instance((f"{VIP}/24",), 'notify "/bin/sleep 1000"', priority=200),
            instance(("10.0.0.101/24",), *lines, name="VI_2", vrid=52, priority=200),
        ),
    )
    alone.wait_owner(VIP, "a", 5)
    alone.wait(lambda: "VI_2 MASTER" in trace.read_text(), 5, "the other instance's script ran")
    assert daemon.answers()
    # and the end does not wait for it for ever
    assert daemon.stop(15) == 0
    assert not [pid for pid in a.pids() if "sleep" in Path(f"/proc/{pid}/comm").read_text()]


def test_an_instance_with_more_addresses_than_a_message_holds_is_shown(lab: Lab) -> None:
    excluded = "\n".join(f"10.{50 + n // 250}.0.{n % 250 + 1}/32" for n in range(5000))
    text = instance((f"{VIP}/24",), f"virtual_ipaddress_excluded {{\n{excluded}\n}}")
    daemon = start(lab["a"], config(text, globals=("vrrp_startup_delay 60",)))
    lab.wait(daemon.answers, 5, "the control socket answers")
    shown = daemon.instance()["virtual_ipaddress_excluded"]
    assert shown[0] == "10.50.0.1/32"
    assert shown[-1] == f"and {5001 - len(shown)} more"
