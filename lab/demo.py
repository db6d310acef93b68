"""The demonstration behind ./demo: a virtual IP survives the loss of its host, seen from a client.

Owns the story and its report. The set-up is lab/setup's, the containers are lab/create.yml's, the measuring is
lab/probe.py's (inside the client), and the cluster is made by site.yml, as anybody's is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar

import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
INVENTORY = ROOT / "inventory" / "lab"
ENGINE = os.environ.get("LAB_ENGINE") or "podman"
T = TypeVar("T")
console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """The demonstration cannot go on; the message says what was expected."""


class Lab:
    """The inventory's containers, by name."""

    def __init__(self) -> None:
        inventory = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))["all"]
        self.prefix: str = inventory["vars"]["lab_prefix"]
        cluster = inventory["children"]["vrrp"]
        self.routers: list[str] = list(cluster["hosts"])
        instance = cluster["vars"]["vrrpd_instances"]["VI_1"]
        self.address: str = instance["virtual_ipaddress"][0].split("/")[0]
        self.advert_int: float = instance["advert_int"]

    def engine(self, *args: str) -> None:
        """A command of podman or docker that must succeed."""
        run([ENGINE, *args])

    def inside(self, host: str, *argv: str) -> subprocess.CompletedProcess[str]:
        command = [ENGINE, "exec", f"{self.prefix}-{host}", *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def state(self, host: str) -> str:
        """What the daemon on that host says it is; DOWN when nobody answers."""
        result = self.inside(host, "vrrpctl", "status", "--json")
        if result.returncode:
            return "DOWN"
        state: str = json.loads(result.stdout)["instances"][0]["state"]
        return state

    def owner(self) -> str | None:
        """The one MASTER that also holds the address, or None while there is none or more than one."""
        masters = [host for host in self.routers if self.state(host) == "MASTER"]
        if len(masters) != 1:
            return None
        holds = self.inside(masters[0], "ip", "-j", "address", "show", "to", self.address).stdout
        return masters[0] if json.loads(holds or "[]") else None

    def answers(self) -> bool:
        return self.inside("client", "ping", "-c", "1", "-W", "1", self.address).returncode == 0

    def neighbour(self) -> str:
        """The hardware address at which the client reaches the virtual IP."""
        table = json.loads(self.inside("client", "ip", "-j", "neighbour", "show", self.address).stdout or "[]")
        return str(table[0].get("lladdr", "unknown")) if table else "unknown"


def run(command: list[str]) -> None:
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DemoError(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")


def playbook(*args: str) -> list[str]:
    return [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(INVENTORY), *args]


def wait(what: str, limit: float, probe: Callable[[], T | None]) -> T:
    """The first true value of `probe`, asked again and again; an error that names `what` when time is over."""
    deadline = time.monotonic() + limit
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise DemoError(f"waited {limit:.0f} s in vain for {what}")
        time.sleep(0.1)


def step(text: str) -> None:
    console.print(f"\n[bold cyan]== {text}[/]")


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    with open("/run/lock/vrrpdemo", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError("another ./demo is running on this machine") from None
        yield


@contextlib.contextmanager
def containers() -> Iterator[None]:
    """The lab, and its end whatever happens in between."""
    run(playbook("lab/destroy.yml"))  # what a killed demonstration may have left
    try:
        run(playbook("lab/create.yml"))
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        step("Cleaning up: containers and network are removed, the image stays for the next time")
        run(playbook("lab/destroy.yml"))


class Probe:
    """lab/probe.py in the client, from `start` until `finish`."""

    def __init__(self, lab: Lab) -> None:
        command = [ENGINE, "exec", "-i", f"{lab.prefix}-client", "python3", "/lab/probe.py", lab.address]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def finish(self) -> dict[str, Any]:
        """The summary; the probe is over."""
        with alarm(10, "the probe to end"):
            stream(self.process.stdin).close()
            lines = stream(self.process.stdout).read().splitlines()
        self.process.wait()
        summary: dict[str, Any] = json.loads(lines[-1])
        return summary


def seconds(summary: dict[str, Any]) -> str:
    """The longest time without an answer; lab/probe.py does not report what is shorter than 0.05 s."""
    return f"{summary['longest']:.2f} s" if summary["longest"] else "less than 0.05 s"


def stream(maybe: IO[str] | None) -> IO[str]:
    assert maybe is not None
    return maybe


@contextlib.contextmanager
def alarm(limit: float, what: str) -> Iterator[None]:
    def ring(_number: int, _frame: object) -> NoReturn:
        raise DemoError(f"waited {limit:.0f} s in vain for {what}")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def show_status(lab: Lab) -> None:
    for host in lab.routers:
        result = lab.inside(host, "vrrpctl", "status")
        console.print(f"[bold]{host}[/]", end="  ")
        console.print(
            (result.stdout or "down: the container does not run").strip().replace("\n", "\n         "), markup=False
        )


def demonstrate(lab: Lab) -> None:
    began = time.monotonic()
    step("Starting three systemd containers: router1, router2, client")
    with containers():
        step("ansible-playbook -i inventory/lab site.yml")
        converge = time.monotonic()
        if subprocess.run(playbook("site.yml"), cwd=ROOT, check=False).returncode:
            raise DemoError("site.yml failed, see above")
        converge = time.monotonic() - converge
        first = wait("one owner of the address", 15, lab.owner)
        show_status(lab)

        step(f"The client reaches {lab.address}")
        ping = lab.inside("client", "ping", "-c", "3", "-i", "0.2", lab.address)
        console.print(ping.stdout.strip(), markup=False)
        if ping.returncode:
            raise DemoError("the address does not answer")
        mac_first = lab.neighbour()
        probe = Probe(lab)

        step(f"Killing the container of the owner, {first}")
        lab.engine("kill", "--signal", "KILL", f"{lab.prefix}-{first}")
        second = wait("a new owner", 15, lab.owner)
        wait("the address to answer", 5, lab.answers)
        killed = probe.finish()
        mac_second = lab.neighbour()
        show_status(lab)
        console.print(f"the client saw {seconds(killed)} without an answer; the owner is now {second}")

        step(f"Starting {first} again")
        probe = Probe(lab)
        lab.engine("start", f"{lab.prefix}-{first}")
        third = wait(f"{first} to own the address again", 40, lambda: first if lab.owner() == first else None)
        wait("the client to learn that", 5, lambda: lab.answers() and lab.neighbour() == mac_first)
        back = probe.finish()
        show_status(lab)

    table = Table(title=f"{lab.address} while hosts came and went", title_justify="left")
    for column in ("what happened", "owner", "its MAC at the client", "without an answer"):
        table.add_column(column)
    table.add_row("site.yml ran", first, mac_first, "-")
    table.add_row(f"{first} was killed", second, mac_second, seconds(killed))
    table.add_row(f"{first} came back", third, mac_first, seconds(back))
    console.print()
    console.print(table)
    console.print(
        f"A backup takes over when three adverts of {lab.advert_int:g} s did not come ({3 * lab.advert_int:g} s) "
        "and a little more has passed (skew).\n"
        f"site.yml took {converge:.1f} s, everything {time.monotonic() - began:.0f} s. "
        f"Pings meanwhile: {killed['sent'] + back['sent']} sent, {killed['answered'] + back['answered']} answered."
    )


def main() -> int:
    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        with only_one():
            demonstrate(Lab())
    except DemoError as error:
        console.print(f"\n[bold red]demo: {error}[/]", markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("\ndemo: interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
