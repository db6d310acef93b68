"""keepalived.data and keepalived_parent.data: the sections in their order, each where there is something in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vrrpd.dump import definitions, instances, interfaces, items, tracking

if TYPE_CHECKING:
    from vrrpd.dump.interfaces import Links
    from vrrpd.model.model import Model

GLOBAL = "Global definitions"


def as_data(model: Model, status: dict[str, Any], links: Links | None = None) -> str:
    """`links`: as the kernel has them now, unless they are given."""
    links = interfaces.links() if links is None else links
    return _text(
        (GLOBAL, definitions.lines(model.global_defs, status)),
        ("Gratuitous ARP delays", interfaces.garp_delays(model, status)),
        ("Static Addresses", items.addresses(model, status)),
        ("Static Routes", items.routes(model)),
        ("Static Rules", items.rules(model)),
        ("Static Track groups", items.track_groups(model)),
        ("VRRP Topology", instances.topology(model, status, links)),
        ("VRRP Sockpool", interfaces.sockpool(model, status)),
        ("VRRP Sync groups", instances.groups(model, status)),
        ("VRRP Scripts", tracking.scripts(model, status)),
        ("VRRP Track files", tracking.files(model, status)),
        ("VRRP Track processes", tracking.processes(model, status)),
        ("Interfaces", interfaces.lines(model, status, links)),
    )


def as_parent(model: Model, status: dict[str, Any]) -> str:
    """What keepalived's main process knows."""
    return _text((GLOBAL, definitions.lines(model.global_defs, status, parent=True)))


def _text(*sections: tuple[str, Iterable[str]]) -> str:
    lines: list[str] = []
    for title, section in sections:
        found = list(section)
        if found:
            lines += [f"------< {title} >------", *found]
    return "".join(f"{line}\n" for line in lines)
