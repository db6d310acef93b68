"""What a transition means for scripts and mail: pure functions from configuration and event to argv and text.

Formats are keepalived's, to the letter (keepalived.conf(5), notify_*; its mail subjects and bodies). Running the
commands belongs to scripts.py, sending to mail.py, the choice of moment to helper.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Union

from vrrpd.log import escape

if TYPE_CHECKING:
    from vrrpd.model.groups import VrrpSyncGroup
    from vrrpd.model.vrrp import Script, VrrpInstance

    Told = Union[VrrpInstance, VrrpSyncGroup]


class Job(NamedTuple):
    """One command to run. `user` and `group` "" mean the configuration's defaults."""

    instance: str
    keyword: str
    argv: tuple[str, ...]
    user: str = ""
    group: str = ""


class Mail(NamedTuple):
    """The text of one notification mail; `at` is the wall clock of the event."""

    instance: str
    event: str
    subject: str
    body: str
    at: float


# event -> (end of the subject, body)
MAIL_TEXT = {
    "MASTER": ("Entering MASTER state", "=> VRRP Instance is now owning VRRP VIPs <="),
    "BACKUP": ("Entering BACKUP state", "=> VRRP Instance is no longer owning VRRP VIPs <="),
    "FAULT": ("Entering FAULT state", "=> VRRP Instance is no longer owning VRRP VIPs <="),
    "STOP": ("Stopping", "=> VRRP Instance stopping <="),
    "DELETED": ("Deleted", "=> VRRP Deleted at reload <="),
}


GROUP_MAIL_TEXT = {
    "MASTER": ("Entering MASTER state", "=> All VRRP group instances are now in MASTER state <="),
    "BACKUP": ("Entering BACKUP state", "=> All VRRP group instances are now in BACKUP state <="),
    "FAULT": ("Entering FAULT state", "=> All VRRP group instances are now in FAULT state <="),
    "STOP": ("Stopping", "=> All VRRP group instances are now stopping <="),
}
INSTANCE, GROUP = "INSTANCE", "GROUP"  # of whom scripts and pipes are told


def told(instance: Told | None, event: str) -> str:
    """The state that others are told: a removed instance is FAULT to them, unless notify_deleted is set."""
    return "FAULT" if event == "DELETED" and getattr(instance, "notify_deleted", None) is None else event


def transition_jobs(instance: Told, event: str, priority: int, kind: str = INSTANCE) -> tuple[Job, ...]:
    """The commands of one transition, in the order to run them: notify_<state>, then notify with its 4 arguments."""
    by_event = {
        "MASTER": instance.notify_master,
        "BACKUP": instance.notify_backup,
        "FAULT": instance.notify_fault,
        "STOP": instance.notify_stop,
        # of an instance alone; and never notify_fault: keepalived 2.2.7, seen
        "DELETED": getattr(instance, "notify_deleted", None),
    }
    extra = (kind, instance.name, told(instance, event), str(priority))
    return (
        *_job(instance, f"notify_{event.lower()}", by_event.get(event)),
        *_job(instance, "notify", instance.notify, extra),
    )


def fifo_line(name: str, event: str, priority: int, kind: str = INSTANCE) -> str:
    """What a named pipe gets; `event` is a state, STOP, DELETED, MASTER_RX_LOWER_PRI or <state>_PRIORITY."""
    return f'{kind} "{escape(name)}" {event} {priority}\n'


def rx_lower_pri_jobs(instance: VrrpInstance) -> tuple[Job, ...]:
    """The command of a MASTER that heard a lower advert."""
    return _job(instance, "notify_master_rx_lower_pri", instance.notify_master_rx_lower_pri)


def _job(instance: Told, keyword: str, script: Script | None, extra: tuple[str, ...] = ()) -> tuple[Job, ...]:
    # `notify_deleted` without a command is a flag
    if script is None or not script.argv:
        return ()
    return (Job(instance.name, keyword, (*script.argv, *extra), script.user, script.group),)


def transition_mail(
    instance: Told,
    event: str,
    router_id: str,
    at: float,
    last: str = "",
    no_email_faults: bool = False,
    kind: str = INSTANCE,
) -> Mail | None:
    """The mail of one transition, or None: smtp_alert is off, or `last` (the last mailed event) says the same."""
    event = told(instance, event)
    texts = GROUP_MAIL_TEXT if kind == GROUP else MAIL_TEXT
    if not instance.smtp_alert or event == last or event not in texts:
        return None
    if event == "FAULT" and no_email_faults:
        return None
    subject, body = texts[event]
    what = f"VRRP {'Group' if kind == GROUP else 'Instance'} {instance.name}"
    return Mail(instance.name, event, f"[{router_id}] {what} - {subject}", body, at)
