"""Two daemons share many virtual routers: every version, family, way of sending, authentication and checksum.

One pair of daemons carries the whole matrix, one VRID for each cell and direction, so that a run costs the time of
its slowest cell. The pair is started, then each daemon in turn is stopped, started, killed and started again; what
the addresses did is recorded for each VRID and judged by one test for each cell (protocol.md M01, M03, M04, M10).
keepalived against itself (marked full) proves that the laboratory tells the truth.
"""

from __future__ import annotations

import re
import signal
from concurrent.futures import Future
from typing import NamedTuple

import pytest
from conftest import side_by_side

from lab import Advert, Daemon, Keepalived, Lab, Ours, config, instance, master_down, now, skew

HIGH, LOW = 250, 240
REJECTED = re.compile(r"_err$|mismatch$|failure$|^auth_ext_|^ah_")
SLACK = 0.4  # what a busy machine may add to a time; well below one missed prio 0 (three adverts)


class Cell(NamedTuple):
    version: int
    family: int
    unicast: bool = False
    password: str = ""
    auth: str = "PASS"  # how the password is used; HMAC: auth_hmac, which keepalived has since 2.4
    plain: str = ""  # at whom v3_checksum_as_v2: no pseudo-header in the checksum (RFC 9568 5.2.8)

    @property
    def interval(self) -> float:
        return 1.0 if self.version == 2 else 0.2

    def __str__(self) -> str:
        words = [f"v{self.version}", f"ipv{self.family}", "unicast" if self.unicast else "multicast"]
        return "-".join(
            [*words, *[self.auth.lower()] * bool(self.password), *[f"plain_checksum_{self.plain}"] * bool(self.plain)]
        )


CELLS = [
    *(Cell(2, 4, unicast, password) for unicast in (False, True) for password in ("", "secret12")),
    *(Cell(2, 4, unicast, "secret12", "AH") for unicast in (False, True)),
    *(Cell(3, family, unicast) for family in (4, 6) for unicast in (False, True)),
]
# Between our own only: keepalived 2.2 does not know the keyword, and drops what has no pseudo-header. Whatever one
# sends, the other understands both ways.
OUR_CELLS = [Cell(3, 4, unicast, plain=plain) for unicast in (False, True) for plain in ("ab", "a")]
OUR_CELLS += [
    Cell(version, family, unicast, "hex:" + 32 * "a5", "HMAC")
    for version, family, unicast in ((2, 4, False), (3, 4, True), (3, 6, False), (3, 6, True))
]
VRIDS = {(cell, master): 10 + n for n, (cell, master) in enumerate((c, m) for c in CELLS + OUR_CELLS for m in "ab")}
PAIRS: dict[str, tuple[type[Daemon], type[Daemon]]] = {
    "ours-keepalived": (Ours, Keepalived),
    "ours-ours": (Ours, Ours),
    "keepalived-keepalived": (Keepalived, Keepalived),
}


def vips(cell: Cell, vrid: int) -> tuple[str, ...]:
    if cell.family == 6:  # RFC 9568 5.2.9: a link-local address first
        return (f"fe80::1:{vrid}/64", f"fd00::1:{vrid}/64")
    return (f"10.0.0.{100 + vrid}/24",)


def watched(cell: Cell, vrid: int) -> str:
    return vips(cell, vrid)[-1].partition("/")[0]


def configuration(lab: Lab, me: str, routers: dict[tuple[Cell, str], int]) -> str:
    own, peer = lab[me], lab["b" if me == "a" else "a"]
    parts = []
    for (cell, master), vrid in routers.items():
        lines = []
        if cell.unicast:
            source, other = ("link_local",) * 2 if cell.family == 6 else ("address",) * 2
            lines += [f"unicast_src_ip {getattr(own, source)}", f"unicast_peer {{\n{getattr(peer, other)}\n}}"]
        if cell.auth == "HMAC":
            lines += [f"auth_hmac {{\nkey 7 {cell.password}\nactive_key 7\n}}"]
        elif cell.password:
            lines += [f"authentication {{\nauth_type {cell.auth}\nauth_pass {cell.password}\n}}"]
        if me in cell.plain:
            lines += ["v3_checksum_as_v2"]
        parts.append(
            instance(
                vips(cell, vrid),
                *lines,
                name=f"R{vrid}",
                vrid=vrid,
                priority=HIGH if me == master else LOW,
                interval=cell.interval,
                version=cell.version,
                state="MASTER" if me == master else "BACKUP",
            )
        )
    return config(*parts)


class Run:
    """One pair through all phases; `faults[vrid]` is what was wrong, in words."""

    def __init__(self, pair: str) -> None:
        cells = CELLS + OUR_CELLS * (Keepalived not in PAIRS[pair])
        self.routers = {(cell, master): vrid for (cell, master), vrid in VRIDS.items() if cell in cells}
        self.faults: dict[int, list[str]] = {vrid: [] for vrid in self.routers.values()}
        self.counters: dict[str, dict[str, dict[str, int]]] = {}
        with Lab("ab") as self.lab:
            for name, kind in zip("ab", PAIRS[pair]):
                self.lab[name].run(kind, configuration(self.lab, name, self.routers))
            # Two that start within milliseconds may both find nobody, and the lower one yields a moment later.
            self.settled("start of both", moves=1)
            for name in "ab":
                self.stopped_in_the_planned_way(name)
                self.lab[name].daemon.start()
                self.settled(f"return of {name} after a stop")
                self.killed(name)
                self.lab[name].daemon.start()
                self.settled(f"return of {name} after SIGKILL")
            for name in "ab":
                daemon = self.lab[name].daemon
                if isinstance(daemon, Ours):
                    self.counters[name] = {i["name"]: i["counters"] for i in daemon.status()["instances"]}

    def owners(self, cell: Cell, vrid: int) -> set[str]:
        return self.lab.held.owners(watched(cell, vrid))

    def until(self, phase: str, wanted: dict[int, tuple[Cell, str]], timeout: float) -> None:
        """Every VRID has exactly these owners; who has not at the end is at fault."""
        try:
            self.lab.wait(lambda: all(self.owners(c, v) == set(o) for v, (c, o) in wanted.items()), timeout, phase)
        except AssertionError as late:
            for vrid, (cell, owner) in wanted.items():
                if self.owners(cell, vrid) != set(owner):
                    self.faults[vrid].append(f"{phase}: at {self.owners(cell, vrid)}, wanted at {owner}\n{late}")

    def settled(self, phase: str, moves: int = 0) -> None:
        """The higher priority has it alone, and nothing moves any more, after `moves` disturbances at most."""
        wanted = {vrid: (cell, master) for (cell, master), vrid in self.routers.items()}
        self.until(phase, wanted, 2 * master_down(LOW, 1.0, 2) + 3)
        since = now()
        try:
            self.lab.steady(
                lambda: not any(self.lab.changes(watched(c, v), since) for (c, _), v in self.routers.items()),
                0.7,
                phase,
            )
        except AssertionError as fault:
            if moves:
                self.settled(phase, moves - 1)
                return
            for (cell, _), vrid in self.routers.items():
                if self.lab.changes(watched(cell, vrid), since):
                    self.faults[vrid].append(f"{phase}: did not stay\n{fault}")

    def first_advert(self, vrid: int, host: str, since: float) -> Advert | None:
        return next((f for f in self.lab.adverts(host, vrid, since) if f.priority), None)

    def stopped_in_the_planned_way(self, name: str) -> None:
        """Priority 0 goes out, and the other one takes over after its skew time."""
        phase, other, since = f"planned stop of {name}", "b" if name == "a" else "a", now()
        self.lab[name].daemon.terminate()
        self.until(phase, {v: (c, other) for (c, _), v in self.routers.items()}, 5)
        self.lab[name].daemon.wait(10)
        for (cell, master), vrid in self.routers.items():
            if master != name:
                continue
            resigned = next((f for f in self.lab.adverts(name, vrid, since) if f.priority == 0), None)
            taken = self.first_advert(vrid, other, since)
            if not resigned or not taken:
                self.faults[vrid].append(f"{phase}: {resigned=} {taken=}")
                continue
            took, least = taken.at - resigned.at, skew(LOW, cell.interval, cell.version)
            if not least - 0.005 <= took <= least + SLACK:
                self.faults[vrid].append(f"{phase}: took over after {took:.3f} s, skew time is {least:.3f}")

    def killed(self, name: str) -> None:
        """Nobody says anything: three adverts and the skew time."""
        phase, other = f"SIGKILL of {name}", "b" if name == "a" else "a"
        daemon = self.lab[name].daemon
        daemon.signal(signal.SIGSTOP)
        since = now()
        daemon.kill()
        wanted = {v: (c, "ab" if m == name else other) for (c, m), v in self.routers.items()}
        self.until(phase, wanted, master_down(LOW, 1.0, 2) + 3)
        for (cell, master), vrid in self.routers.items():
            if master != name:
                continue
            last = [f for f in self.lab.adverts(name, vrid) if f.at <= since + 0.01][-1]
            taken, limit = self.first_advert(vrid, other, since), master_down(LOW, cell.interval, cell.version)
            if not taken or not limit - 0.005 <= taken.at - last.at <= limit + SLACK:
                after = f"{taken.at - last.at:.3f} s" if taken else "never"
                self.faults[vrid].append(f"{phase}: took over after {after}, master down interval is {limit:.3f}")


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> dict[str, Future[Run]]:
    return side_by_side(request, "pair", Run)


BOTH_KINDS = [("ours-keepalived", cell) for cell in CELLS]
OURS_ALONE = [("ours-ours", cell) for cell in CELLS + OUR_CELLS]
CONTROL = [pytest.param("keepalived-keepalived", cell, marks=pytest.mark.full) for cell in CELLS]


@pytest.mark.parametrize("master", [pytest.param("a", id="first_is_master"), pytest.param("b", id="second_is_master")])
@pytest.mark.parametrize(("pair", "cell"), [*BOTH_KINDS, *OURS_ALONE, *CONTROL], ids=str)
def test_m10_the_pair_hands_over_in_both_directions(
    runs: dict[str, Future[Run]], pair: str, cell: Cell, master: str
) -> None:
    run = runs[pair].result()
    vrid = VRIDS[cell, master]
    assert not run.faults[vrid], "\n".join(run.faults[vrid])
    for host, counters in run.counters.items():
        wrong = {k: v for k, v in counters[f"R{vrid}"].items() if v and REJECTED.search(k)}
        assert not wrong, f"{host} rejected packets of its peer: {wrong}"
