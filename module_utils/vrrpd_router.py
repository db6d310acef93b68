# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An instance on a host, as the plan has resolved it."""

from __future__ import annotations

from typing import Any, NamedTuple

Host = dict[str, Any]  # the vrrpd_* variables of one


class Router(NamedTuple):
    """One instance on one host, resolved."""

    host: str
    cluster: str
    name: str
    keywords: dict[str, Any]
    priority: int
    origin: str  # where the priority comes from, for the reader
    family: int
    version: int
    addresses: tuple[str, ...]


def by_instance(routers: list[Router]) -> dict[tuple[str, str], list[Router]]:
    """(cluster, instance) -> the hosts that carry it."""
    result: dict[tuple[str, str], list[Router]] = {}
    for router in routers:
        result.setdefault((router.cluster, router.name), []).append(router)
    return result
