"""What the kernel does not take of a router: which address, route or rule, why, and since when.

For people (status), and to be tried again. Used by the executor for addresses and by laying.py for routes and rules; a
successor has it from the estate.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from vrrpd.vrrp.estate import Lacking
from vrrpd.vrrp.states import State

if TYPE_CHECKING:
    from vrrpd.vrrp.router import VirtualRouter

Entry = TypeVar("Entry")


class Ledger(Generic[Entry]):
    """Entries of one sort, by router; empty on a good day."""

    def __init__(self) -> None:
        self._known: dict[VirtualRouter, dict[Entry, Lacking]] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def of(self, router: VirtualRouter) -> tuple[Lacking, ...]:
        return tuple(self._known.get(router, {}).values()) if router.state is State.MASTER else ()

    def to_try(self) -> list[tuple[VirtualRouter, tuple[Entry, ...]]]:
        """Never of a router that is not, or soon will not be, MASTER."""
        return [
            (router, tuple(entries))
            for router, entries in self._known.items()
            if router.state is State.MASTER and not router.leaving
        ]

    def has(self, router: VirtualRouter, entry: Entry) -> bool:
        return entry in self._known.get(router, {})

    def refused(self, router: VirtualRouter, entry: Entry, kind: str, text: str, why: str) -> str:
        """What is to be told of it, or nothing: each cause is told once."""
        entries = self._known.setdefault(router, {})
        former = entries.get(entry)
        if former is not None and former.why == why:
            return ""
        entries[entry] = Lacking(kind, text, why, time.monotonic() if former is None else former.since)
        return f"{router.name}: cannot add {kind} {text}: {why}"

    def taken(self, router: VirtualRouter, entry: Entry) -> None:
        """It is there, or not wanted any more."""
        entries = self._known.get(router)
        if entries is not None and entries.pop(entry, None) is not None and not entries:
            del self._known[router]

    def inherit(
        self, router: VirtualRouter, lacking: Iterable[Lacking], wanted: Mapping[tuple[str, str], Entry]
    ) -> None:
        """From a predecessor, as far as it is still `wanted` (kind and text -> entry)."""
        for missing in lacking:
            entry = wanted.get((missing.kind, missing.text))
            if entry is not None:
                self._known.setdefault(router, {})[entry] = missing
