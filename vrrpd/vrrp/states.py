"""The words of a virtual router's life: its states, what it remembers of others, who finds faults.

What happens in them is router.py's, backup.py's and master.py's.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class State(Enum):
    """Where a router is; the values are keepalived's numbers in its JSON."""

    INIT = 0
    BACKUP = 1
    MASTER = 2
    FAULT = 3


# A global is cheaper than the access to a member on the hot path (0.1-0.3 us on 3.9 to 3.11).
INIT, BACKUP, MASTER, FAULT = State.INIT, State.BACKUP, State.MASTER, State.FAULT

LEGAL: dict[State, frozenset[State]] = {
    INIT: frozenset({BACKUP, MASTER, FAULT}),
    BACKUP: frozenset({MASTER, FAULT, INIT}),
    MASTER: frozenset({BACKUP, FAULT, INIT}),
    FAULT: frozenset({BACKUP, MASTER, INIT}),
}

# Who finds a fault; of the last also the sentence.
LINK, TRACK, GROUP, MAINTENANCE = "link", "track", "group", "maintenance"
WITH_GROUP = "GROUP"  # the event of a planned leave that its sync group began


class LastTransition(NamedTuple):
    """For status."""

    old: State
    new: State
    event: str
    reason: str
    at: float


class Heard(NamedTuple):
    """The advert we last listened to."""

    source: bytes
    priority: int
    at: float
