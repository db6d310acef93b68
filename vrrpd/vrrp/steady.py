"""interface_up_down_delays: a change of a link counts when it has lasted.

In: the true picture of an interface. Out: the one to act upon, which may be up for a while when it is not, or the
reverse; everything else of it is as it is. At most one timer for each interface that has a delay and is unsteady. How
long a link may be down before somebody else takes over is the engine's to say, and then it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vrrpd.vrrp.timers import Timer, Timers

if TYPE_CHECKING:
    from vrrpd.model.values import InterfaceDelay
    from vrrpd.vrrp.actions import Action
    from vrrpd.vrrp.links import Link

Shown = Callable[["Link", float], "Sequence[Action]"]


class _Unsteady:
    """An interface whose link is not what it is shown as."""

    __slots__ = ("_shown", "_steady", "link", "timer")

    def __init__(self, steady: Steady, link: Link, shown: Shown) -> None:
        self._steady, self.link, self._shown = steady, link, shown
        self.timer = Timer(self._lasted)

    def _lasted(self, now: float, due: float) -> Sequence[Action]:
        self._steady.forget(self.link.name)
        return self._shown(self.link, now)


class Steady:
    """All interfaces of one engine; `shown` is told what counts at last."""

    __slots__ = ("_delays", "_shown", "_timers", "_unsteady", "changed")

    def __init__(self, timers: Timers, shown: Shown) -> None:
        self._timers, self._shown = timers, shown
        self._delays: dict[str, tuple[float, float]] = {}  # down, up
        self._unsteady: dict[str, _Unsteady] = {}
        self.changed = False  # since somebody has looked: others are unsteady, or for longer

    def configure(self, delays: Iterable[InterfaceDelay], bases: Mapping[str, str]) -> None:
        """`bases`: virtual interface -> the one below, whose delays it has (keepalived.conf(5))."""
        self._delays = {name: (down, up) for name, down, up in delays}
        for device, base in bases.items():
            if base in self._delays:
                self._delays.setdefault(device, self._delays[base])

    def __contains__(self, name: str) -> bool:
        return name in self._delays

    def until(self, name: str) -> float:
        """When its change will count; 0 for a steady one."""
        unsteady = self._unsteady.get(name)
        return unsteady.timer.deadline if unsteady else 0.0

    def view(self, link: Link, former: Link | None, most: float, now: float) -> Link:
        """`link` as it is to be taken now. `former`: how it was; `most`: the longest that its end may go unnoticed."""
        if former is None or former.ifindex != link.ifindex or former.up == link.up:
            self.forget(link.name)
            return link
        unsteady = self._unsteady.get(link.name)
        if unsteady is None:
            down, up = self._delays[link.name]
            delay = min(down, most) if former.up else up
            if delay <= 0:
                return link
            unsteady = self._unsteady[link.name] = _Unsteady(self, link, self._shown)
            self._timers.set(unsteady.timer, now + delay)
            self.changed = True
        unsteady.link = link
        return link._replace(up=former.up)

    def forget(self, name: str) -> None:
        unsteady = self._unsteady.pop(name, None)
        if unsteady is not None:
            self._timers.clear(unsteady.timer)
            self.changed = True

    def give(self, links: Mapping[str, Link]) -> dict[str, Any]:
        """For a successor: how each interface is taken now, and until when at the most."""
        return {name: (links[name].up, self.until(name)) for name in self._delays if name in links}

    def running(self, links: Mapping[str, Link]) -> dict[str, tuple[bool, float]]:
        """The same of those whose delay runs: all that must survive this process."""
        return {name: (links[name].up, self.until(name)) for name in self._unsteady if name in links}

    def take(
        self, data: Mapping[str, Any], links: Mapping[str, Link], most: Callable[[str], float], now: float
    ) -> list[Link]:
        """Go on where another process stopped: the links that are to be taken otherwise than they were found."""
        views = []
        for name, (up, until) in data.items():
            link = links.get(name)
            if link is None or link.up == bool(up) or name not in self._delays:
                continue
            views.append(self.view(link, link._replace(up=bool(up)), most(name), now))
            unsteady = self._unsteady.get(name)
            if unsteady is not None and until:
                self._timers.set(unsteady.timer, float(until))
        return views
