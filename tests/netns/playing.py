"""The words of the plays: what can happen, and what files are made of.

FOLDER in a file is the stage's: the named pipe `fifo`, the script `told`, the flag `ok` that the check asks for, and
`number`, a tracked file. A step is its name, what happens, and how long it lasts if not until nothing more happens.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any, NamedTuple, Union

from stage import Act, Speaker, Stage

EVENTS = ("master", "backup", "fault", "stop")

Step = Union[Act, tuple[Union[Act, float], ...]]  # a number: seconds that the step lasts


Script = Mapping[str, Step]


class Play(NamedTuple):
    """A file and what happens to it; `setup`: commands of `ip` before anything, `options` of both daemons."""

    config: str
    steps: Script
    speaker: Speaker = Speaker()
    setup: tuple[str, ...] = ()
    full: bool = False
    options: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------- what can happen
START = Act(Stage.start, Stage.started, True)
STOP = Act(lambda stage: stage.daemon.terminate(), lambda stage: not stage.daemon.running())
HUSH = Act(Stage.hush)
FAIL, SUCCEED = Act(lambda stage: (stage.folder / "ok").unlink()), Act(lambda stage: (stage.folder / "ok").touch())
UNPLUG, PLUG = Act(lambda stage: stage.lab.unplug("a")), Act(lambda stage: stage.lab.plug("a"))


def edit(*changes: tuple[str, str]) -> Act:
    return Act(lambda stage: stage.edit(*changes), Stage.reloaded, True)


RELOAD = edit()


def hear(priority: int, **changes: Any) -> Act:
    return Act(lambda stage: stage.hear(priority, **changes))


def speak(priority: int, **changes: Any) -> Act:
    return Act(lambda stage: stage.speak(priority, **changes))


def ip(*lines: str) -> Act:
    return Act(lambda stage: stage.host.ip(*lines))


def number(value: object) -> Act:
    return Act(lambda stage: (stage.folder / "number").write_text(f"{value}\n"))


def send(which: signal.Signals) -> Act:
    return Act(lambda stage: stage.daemon.signal(which, [stage.daemon.pid]))


# ---------------------------------------------------------------------------------------------- files
def head(*lines: str, version: int = 3) -> str:
    listed = "\n".join(f"    {line}" for line in lines)
    return f"""
global_defs {{
    vrrp_version {version}
    vrrp_notify_fifo FOLDER/fifo
    vrrp_notify_priority_changes
    vrrp_garp_master_delay 1
{listed}
}}
vrrp_script check {{
    script "/usr/bin/test -e FOLDER/ok"
    interval 1
    user root
}}
track_file number {{
    file FOLDER/number
    weight 1
}}
"""


def notifies(*events: str, who: str = "") -> str:
    lines = [f'    notify_{event} "FOLDER/told {who}{event}"\n' for event in events]
    return "".join([*lines, '    notify "FOLDER/told notify"\n'])


TELLS = notifies(*EVENTS, "deleted")


def vi(
    *lines: str, name: str = "VI_1", interface: str = "eth0", vrid: int = 51, priority: int = 150,
    interval: float = 0.2, addresses: tuple[str, ...] = ("10.0.0.100",), tells: str = TELLS,
) -> str:  # fmt: skip
    """An instance; what lines end with { goes on in the next ones."""
    listed = "".join(f"    {line}\n" for line in lines)
    within = "".join(f"        {address}\n" for address in addresses)
    return f"""
vrrp_instance {name} {{
    interface {interface}
    virtual_router_id {vrid}
    priority {priority}
    advert_int {interval:g}
{listed}    virtual_ipaddress {{
{within}    }}
{tells}}}
"""


def block(keyword: str, *lines: str) -> str:
    return " ".join([keyword, "{\n", *(f"        {line}\n" for line in lines), "    }"])


def group(*members: str, lines: tuple[str, ...] = (), name: str = "G1") -> str:
    listed = "".join(f"    {line}\n" for line in (block("group", *members), *lines))
    return f"vrrp_sync_group {name} {{\n{listed}{notifies(*EVENTS, who='group ')}}}\n"


# ---------------------------------------------------------------------------------------------- one instance
ROUTE, ROUTE2 = "198.51.100.0/24 via 10.0.0.99", "198.51.101.0/24 via 10.0.0.99"
RULE, RULE2 = "from 10.0.0.100 lookup 200 priority 900", "from 10.0.0.110 lookup 201 priority 901"
OTHER = vi(name="VI_2", vrid=52, priority=100, addresses=("10.0.0.120",))

ONE = (
    head()
    + vi(
        block("track_script", "check"),
        block("track_file", "number"),
        block("virtual_ipaddress_excluded", "10.0.0.110/24"),
        block("virtual_routes", ROUTE),
        block("virtual_rules", RULE),
        'notify_master_rx_lower_pri "FOLDER/told lower"',
    )
    + OTHER
)
