"""FRR's vrrpd as the peer: VRRPv2, VRRPv3 over IPv4 and IPv6, in both roles (protocol.md M10).

FRR keeps the virtual address on a macvlan with the virtual MAC, up at the master and down at the backup; so who owns
it is read from who adverts, and at our router from the address as everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from lab import Frr, Lab, Ours, config, instance, master_down, now, skew

pytestmark = pytest.mark.full
SLACK = 0.4


class Cell(NamedTuple):
    version: int
    family: int

    @property
    def interval(self) -> float:
        return 1.0 if self.version == 2 else 0.2

    @property
    def address(self) -> str:
        return "fd00::100" if self.family == 6 else "10.0.0.100"


CELLS = [Cell(2, 4), Cell(3, 4), Cell(3, 6)]


def ours(cell: Cell, priority: int) -> str:
    # FRR lists no link-local address in its IPv6 adverts.
    vip = cell.address + ("/64" if cell.family == 6 else "/24")
    return config(instance((vip,), priority=priority, version=cell.version, interval=cell.interval))


def frr(cell: Cell, priority: int) -> str:
    return "\n".join([
        "interface eth0",
        f" vrrp 51 version {cell.version}", f" vrrp 51 priority {priority}",
        f" vrrp 51 advertisement-interval {round(cell.interval * 1000)}",
        f" vrrp 51 {'ipv6' if cell.family == 6 else 'ip'} {cell.address}", "exit", "",
    ])  # fmt: skip


def only_adverts(lab: Lab, host: str, cell: Cell) -> None:
    """`host` adverts and the other one is silent, for two intervals and more."""
    other = "b" if host == "a" else "a"
    limit = 3 * master_down(100, cell.interval, cell.version) + 4

    def settled() -> bool:
        since = now() - 2.5 * cell.interval
        return bool(lab.adverts(host, 51, since, cell.family)) and not lab.adverts(other, 51, since, cell.family)

    lab.wait(settled, limit, f"only {host} adverts")


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"v{c.version}-ipv{c.family}")
def test_ours_is_master_and_frr_takes_over(lab: Lab, cell: Cell) -> None:
    a, b = lab["a"], lab["b"]
    b.run(Frr, frr(cell, 100))
    a.run(Ours, ours(cell, 200))
    only_adverts(lab, "a", cell)
    assert a.addresses().keys() & {cell.address}
    since = now()
    a.daemon.stop()
    lab.wait(lambda: lab.adverts("b", 51, since, cell.family), 5, "FRR takes over")
    resigned = next(f for f in lab.adverts("a", 51, since, cell.family) if f.priority == 0)
    took = lab.adverts("b", 51, resigned.at, cell.family)[0].at - resigned.at
    assert took <= skew(100, cell.interval, cell.version) + SLACK
    a.daemon.start()
    only_adverts(lab, "a", cell)
    last = lab.adverts("a", 51, 0, cell.family)[-1].at
    a.daemon.kill()
    lab.wait(lambda: lab.adverts("b", 51, last, cell.family), 6, "FRR takes over")
    assert (
        lab.adverts("b", 51, last, cell.family)[0].at - last
        <= master_down(100, cell.interval, cell.version) + 2 * SLACK
    )


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"v{c.version}-ipv{c.family}")
def test_frr_is_master_and_ours_takes_over(lab: Lab, cell: Cell) -> None:
    a, b = lab["a"], lab["b"]
    a.run(Ours, ours(cell, 100))
    b.run(Frr, frr(cell, 200))
    only_adverts(lab, "b", cell)
    assert not a.addresses().keys() & {cell.address}
    wrong = {k: v for k, v in a.ours.counters().items() if k.endswith(("_err", "mismatch")) and v}
    assert not wrong
    last = lab.adverts("b", 51, 0, cell.family)[-1].at
    b.daemon.kill()
    lab.wait(lambda: cell.address in lab.held.by_host["a"], 6, "ours takes over")
    taken = lab.adverts("a", 51, last, cell.family)[0].at - last
    limit = master_down(100, cell.interval, cell.version)
    assert limit - cell.interval - 0.01 <= taken <= limit + cell.interval + SLACK
    b.daemon.start()
    only_adverts(lab, "b", cell)
    lab.wait(lambda: cell.address not in lab.held.by_host["a"], 3, "ours has let go")
