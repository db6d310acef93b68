"""Static addresses, routes and rules: set before the instances start, kept, taken away when the daemon stops.

The guard owns them, because they outlive every other process, as the virtual interfaces do (vmacs.py). In: the
entries that a configuration wants. What was added is in a file beside the will before it is done, so that whoever
comes after a SIGKILL of everything undoes it or goes on with it. What was there before us is not removed, unless it
bears our protocol number. The vrrp process hears when one is removed, and asks to have them all looked at again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vrrpd import will
from vrrpd.net import netlink, routing
from vrrpd.net.links import Links
from vrrpd.vrrp.estate import Lacking

FILE = "statics.json"  # beside the will

Log = Callable[[str, str], object]


Entry = Sequence[Any]  # of Routing, as JSON brings it: kind, text, body in hexadecimal, holes, mode, no_track


class Statics:
    """What we have added in this network namespace."""

    def __init__(self, folder: str, log: Log) -> None:
        self._path = os.path.join(folder, FILE)
        self._log = log
        self._made: dict[tuple[str, bytes], will.Laid] = {}  # by kind, and body with the numbers of interfaces
        self._saved: object = None
        self.lacking: dict[str, Lacking] = {}  # what cannot be had, by its text; since when in epoch seconds

    def fit(self, wanted: Iterable[Entry], alone: bool = False) -> dict[str, str]:
        """Add what is missing; what cannot be had, by its text, and why. `alone`: and remove what nobody wants."""
        entries = list(wanted)
        if not entries and not self._made:
            self.lacking = {}
            return {}
        links = Links()
        links.load()
        missing: dict[str, str] = {}
        todo: dict[tuple[str, bytes], will.Laid] = {}
        for kind, text, body, holes, mode, no_track in entries:
            at = tuple((offset, name, links.find(name)) for offset, name in holes)
            absent = [name for _, name, ifindex in at if not ifindex]
            if absent:
                missing[text] = f"there is no interface {absent[0]}"
                continue
            laid = will.Laid(kind, text, bytes.fromhex(body), at, mode, no_track)
            todo[_place(laid)] = laid
        if alone:
            self._drop([place for place in self._made if place not in todo])
        former = set(self._made)
        self._made.update(todo)
        self._save()
        missing.update(self._add(todo, former))
        self._save()
        self._tell(missing, {text: kind for kind, text, *_ in entries})
        return missing

    def _add(self, todo: dict[tuple[str, bytes], will.Laid], former: set[tuple[str, bytes]]) -> dict[str, str]:
        missing = {}
        again = []
        codes = _run([routing.add(kind, body, laid.mode) for (kind, body), laid in todo.items()])
        for (place, laid), code in zip(todo.items(), codes):
            if not code and place in former:
                again.append(f"{laid.kind} {laid.text}")
            elif code in routing.PRESENT:
                if place not in former and (laid.kind == routing.ADDRESS or laid.no_track):
                    del self._made[place]  # the machine's own
            elif code:
                missing[laid.text] = os.strerror(code)
                if place not in former:
                    del self._made[place]
        if again:
            self._log("warning", f"static {', '.join(again)}: was missing, put back")
        return missing

    def undo(self) -> None:
        """Remove everything that we added."""
        self._drop(list(self._made))
        self._save()

    def load(self) -> None:
        """What a predecessor of this boot and this network namespace left."""
        data = will.read_file(self._path)
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            made = [will.decode_laid(each) for each in data["statics"]]
            self._made = {_place(laid): laid for laid in made}
        self._saved = self._state()

    def _drop(self, places: Sequence[tuple[str, bytes]]) -> None:
        """In the reverse order; an interface that has given its number away is not looked for."""
        gone = [self._made.pop(place) for place in places][::-1]
        if not gone:
            return
        links = Links()
        links.load()
        gone = [laid for laid in gone if all(links.hardware(at)[0] == name for _, name, at in laid.holes)]
        codes = _run([routing.delete(*_place(laid)) for laid in gone])
        for laid, code in zip(gone, codes):
            if code and code not in routing.ABSENT:
                self._log("error", f"cannot remove static {laid.kind} {laid.text}: {os.strerror(code)}")

    def _state(self) -> dict[str, Any]:
        return {"statics": [will.encode_laid(laid) for laid in self._made.values()]}

    def _save(self) -> None:
        state = self._state()
        if state == self._saved:
            return
        self._saved = state
        if self._made:
            will.write_file(self._path, state)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def _tell(self, missing: dict[str, str], kinds: dict[str, str]) -> None:
        """Each cause once."""
        former, self.lacking = self.lacking, {}
        for text, why in missing.items():
            known = former.get(text)
            if known is None or known.why != why:
                self._log("error", f"cannot set static {text}: {why}")
            since = time.time() if known is None else known.since
            self.lacking[text] = Lacking(kinds[text], text, why, since)


def _place(laid: will.Laid) -> tuple[str, bytes]:
    return laid.kind, routing.filled(laid.body, (hole[0] for hole in laid.holes), (hole[2] for hole in laid.holes))


def _run(requests: Sequence[routing.Request]) -> list[int]:
    if not requests:
        return []
    sock = netlink.Requests()
    try:
        return sock.run(requests)
    finally:
        sock.close()
