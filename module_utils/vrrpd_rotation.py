# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keys of auth_hmac: the way from one configuration to another without an outage.

A node understands what it has the key of, whatever it sends with itself. So a new key is first made known everywhere,
then sent with, and the old one is taken away when nobody sends with it any more; a first introduction begins with
nodes that understand and do not send. Each of these steps may be taken host by host, which is not to be assumed but
found: on each node vrrpd_keys.py compares what runs with what is to run.
"""

from __future__ import annotations

from typing import Any

from ansible.module_utils.vrrpd_keys import NO_KEYS, UNSIGNED
from ansible.module_utils.vrrpd_lines import entries, placeholder

ENFORCE, PERMISSIVE, RECEIVE_ONLY = "enforce", "permissive", "receive-only"
RECEIVE, SWITCH = "receive", "switch"  # the phases of a rotation; what the inventory says is the third

Keywords = dict[str, Any]


def ids(hmac: Keywords) -> list[str]:
    """Of the keys of an auth_hmac, as the inventory has them: `ID VALUE` lines, or ID -> VALUE."""
    return [str(line).split(None, 1)[0] for line in entries(hmac.get("key")) if str(line).strip()]


def facts(instance: str, hmac: Keywords | None) -> dict[str, Any]:
    """What a node sends with and what it accepts: key ids with the placeholder of each key."""
    if not isinstance(hmac, dict):
        return NO_KEYS
    known = {number: f"{number} {placeholder(instance, 'auth_hmac', 'key', number)}" for number in ids(hmac)}
    mode = hmac.get("mode", ENFORCE)
    sends = UNSIGNED if mode == RECEIVE_ONLY else known.get(str(hmac.get("active_key")), UNSIGNED)
    return {"sends": sends, "accepts": [*known.values(), *([] if mode == ENFORCE else [UNSIGNED])]}


def phased(hmac: Keywords, phase: str, running: list[Keywords | None], mine: Keywords | None) -> Keywords:
    """The auth_hmac of a node in this phase of a rotation. `running` is what the nodes of the instance run (status).

    LookupError: a node sends with a key that the inventory has not; the argument is its id.
    """
    if phase not in (RECEIVE, SWITCH):
        return hmac
    introduced = all(each is not None and each["mode"] == ENFORCE for each in running)
    signing = [each for each in running if each is not None and each["mode"] != RECEIVE_ONLY]
    for each in signing:
        if str(each["active_key"]) not in ids(hmac):
            raise LookupError(each["active_key"])
    wanted = hmac.get("mode", ENFORCE)
    if phase == SWITCH:
        return hmac if introduced or wanted != ENFORCE else {**hmac, "mode": PERMISSIVE}
    now = mine if mine is not None else signing[0] if signing else None
    if now is None or now["mode"] == RECEIVE_ONLY:
        return {**hmac, "mode": RECEIVE_ONLY}
    kept = {} if str(now["active_key"]) == str(hmac.get("active_key")) else {"active_key": now["active_key"]}
    return {**hmac, **kept, **({} if now["mode"] == wanted else {"mode": now["mode"]})}  # as the inventory has it
