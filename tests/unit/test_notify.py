"""Transitions to commands and mail text, in keepalived's formats (keepalived.conf(5); its mail subjects)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vrrpd import notify
from vrrpd.model.groups import VrrpSyncGroup
from vrrpd.model.vrrp import Script, VrrpInstance

NOTHING = VrrpInstance("VI_1", "eth0", 51)
ALL = replace(
    NOTHING,
    notify_master=Script(("/bin/to-master", "-v"), user="ops", group="adm"),
    notify_backup=Script(("/bin/to-backup",)),
    notify_fault=Script(("/bin/to-fault",)),
    notify_stop=Script(("/bin/to-stop",)),
    notify_master_rx_lower_pri=Script(("/bin/lower",)),
    notify=Script(("/bin/any", "first")),
    smtp_alert=True,
)


def commands(instance: VrrpInstance, event: str) -> list[tuple[str, ...]]:
    return [job.argv for job in notify.transition_jobs(instance, event, 150)]


def test_notify_state_comes_first_with_its_own_arguments_only() -> None:
    assert commands(ALL, "MASTER") == [
        ("/bin/to-master", "-v"),
        ("/bin/any", "first", "INSTANCE", "VI_1", "MASTER", "150"),
    ]


@pytest.mark.parametrize(
    ("event", "program"), [("BACKUP", "/bin/to-backup"), ("FAULT", "/bin/to-fault"), ("STOP", "/bin/to-stop")]
)
def test_each_state_has_its_script(event: str, program: str) -> None:
    assert commands(ALL, event) == [(program,), ("/bin/any", "first", "INSTANCE", "VI_1", event, "150")]


def test_a_removed_instance_is_fault_to_scripts_unless_notify_deleted() -> None:
    # and notify_fault does not run: keepalived 2.2.7 with this configuration and a HUP without the instance
    assert commands(ALL, "DELETED") == [("/bin/any", "first", "INSTANCE", "VI_1", "FAULT", "150")]
    told = replace(ALL, notify_deleted=Script(("/bin/gone",)))
    assert commands(told, "DELETED") == [
        ("/bin/gone",),
        ("/bin/any", "first", "INSTANCE", "VI_1", "DELETED", "150"),
    ]


def test_notify_deleted_without_a_command_only_changes_the_word() -> None:
    told = replace(ALL, notify_deleted=Script(()))
    assert commands(told, "DELETED") == [("/bin/any", "first", "INSTANCE", "VI_1", "DELETED", "150")]


def test_the_user_of_a_script_travels_with_it() -> None:
    first, second = notify.transition_jobs(ALL, "MASTER", 150)
    assert (first.user, first.group, second.user, second.group) == ("ops", "adm", "", "")


def test_an_instance_without_scripts_runs_nothing() -> None:
    assert commands(NOTHING, "MASTER") == []
    assert notify.rx_lower_pri_jobs(NOTHING) == ()


def test_a_lower_advert_runs_its_script_without_arguments() -> None:
    assert [job.argv for job in notify.rx_lower_pri_jobs(ALL)] == [("/bin/lower",)]


@pytest.mark.parametrize(
    ("event", "subject", "body"),
    [
        ("MASTER", "Entering MASTER state", "=> VRRP Instance is now owning VRRP VIPs <="),
        ("BACKUP", "Entering BACKUP state", "=> VRRP Instance is no longer owning VRRP VIPs <="),
        ("FAULT", "Entering FAULT state", "=> VRRP Instance is no longer owning VRRP VIPs <="),
        ("STOP", "Stopping", "=> VRRP Instance stopping <="),
        ("DELETED", "Deleted", "=> VRRP Deleted at reload <="),
    ],
)
def test_mail_text(event: str, subject: str, body: str) -> None:
    told = replace(ALL, notify_deleted=Script(()))
    mail = notify.transition_mail(told, event, "LB1", 1.5)
    assert mail is not None
    assert (mail.subject, mail.body) == (f"[LB1] VRRP Instance VI_1 - {subject}", body)


def test_no_mail_when_the_last_mailed_state_is_the_same() -> None:
    assert notify.transition_mail(ALL, "BACKUP", "LB1", 1.5, last="BACKUP") is None
    assert notify.transition_mail(ALL, "BACKUP", "LB1", 1.5, last="MASTER") is not None


def test_no_mail_without_smtp_alert() -> None:
    assert notify.transition_mail(NOTHING, "MASTER", "LB1", 1.5) is None


def test_no_email_faults_silences_faults_only() -> None:
    assert notify.transition_mail(ALL, "FAULT", "LB1", 1.5, no_email_faults=True) is None
    assert notify.transition_mail(ALL, "MASTER", "LB1", 1.5, no_email_faults=True) is not None


def test_a_removed_instance_is_mailed_as_fault_unless_notify_deleted() -> None:
    mail = notify.transition_mail(ALL, "DELETED", "LB1", 1.5)
    assert mail is not None
    assert (mail.event, mail.subject) == ("FAULT", "[LB1] VRRP Instance VI_1 - Entering FAULT state")


def test_a_sync_group_has_its_own_word_and_priority_0() -> None:
    group = VrrpSyncGroup(
        "G1",
        ("VI_1", "VI_2"),
        notify_stop=Script(("/bin/to-stop",)),
        notify=Script(("/bin/any",)),
        smtp_alert=True,
    )
    jobs = notify.transition_jobs(group, "STOP", 0, notify.GROUP)
    assert [job.argv for job in jobs] == [("/bin/to-stop",), ("/bin/any", "GROUP", "G1", "STOP", "0")]
    assert notify.fifo_line("G1", "STOP", 0, notify.GROUP) == 'GROUP "G1" STOP 0\n'
    mail = notify.transition_mail(group, "MASTER", "lb1", 0.0, kind=notify.GROUP)
    assert mail is not None
    assert mail.subject == "[lb1] VRRP Group G1 - Entering MASTER state"
    assert mail.body == "=> All VRRP group instances are now in MASTER state <="
    assert notify.transition_mail(group, "MASTER", "lb1", 0.0, last="MASTER", kind=notify.GROUP) is None
