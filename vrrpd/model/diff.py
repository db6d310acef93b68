"""What a new configuration changes: which virtual routers go, come, change or stay as they are.

A router is who it is on the wire: interface, family, VRID and, with unicast, the source address. Its name is not part
of that (keepalived matches instances likewise, vrrp_data.c): a renamed instance goes on as it was, with a new name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional

if TYPE_CHECKING:
    from .vrrp import VrrpInstance

Identity = tuple[str, int, int, Optional[bytes]]


class Difference(NamedTuple):
    """Instances by fate. `changed` and `unchanged` hold (old, new); an unchanged pair is equal, name included."""

    removed: tuple[VrrpInstance, ...]
    added: tuple[VrrpInstance, ...]
    changed: tuple[tuple[VrrpInstance, VrrpInstance], ...]
    unchanged: tuple[tuple[VrrpInstance, VrrpInstance], ...]


def identity(instance: VrrpInstance) -> Identity:
    unicast = (instance.unicast_src_ip or b"") if instance.unicast_peer else None
    return instance.interface, instance.family, instance.virtual_router_id, unicast


def diff(old: Sequence[VrrpInstance], new: Sequence[VrrpInstance]) -> Difference:
    """The way from `old` to `new`."""
    former: dict[Identity, list[VrrpInstance]] = {}
    for instance in old:
        former.setdefault(identity(instance), []).append(instance)
    added, changed, unchanged = [], [], []
    for instance in new:
        before = _take(former.get(identity(instance), []), instance)
        if before is None:
            added.append(instance)
        elif before == instance:
            unchanged.append((before, instance))
        else:
            changed.append((before, instance))
    removed = tuple(instance for rest in former.values() for instance in rest)
    return Difference(removed, tuple(added), tuple(changed), tuple(unchanged))


def _take(candidates: list[VrrpInstance], instance: VrrpInstance) -> VrrpInstance | None:
    """Of several unicast routers with one VRID the one that shares most peers, else the namesake."""
    if not candidates:
        return None
    peers = set(instance.unicast_peer)
    best = max(candidates, key=lambda old: (len(peers.intersection(old.unicast_peer)), old.name == instance.name))
    candidates.remove(best)
    return best
