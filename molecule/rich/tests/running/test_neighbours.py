"""systemd-networkd (router2) and NetworkManager (router3) leave alone what is ours, whatever they are told to do.

What lies in the kernel is compared before and after, `ip monitor` says what went away in between, and no router may
have changed its state. Two things cost the node its own addresses for some milliseconds, and with them the source of
our adverts over IPv6: then another router has ours for a second. A setting of NetworkManager's that spares foreign
addresses there is not: what it takes when it activates a connection anew is put back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

RECONFIGURE = "networkctl reconfigure eth0"
RELOAD = "touch /etc/systemd/network/10-eth0.network; networkctl reload"
# Of each the telling ones; with --full the rest.
NETWORKD, NETWORKD_TOO = (RELOAD, "systemctl restart systemd-networkd"), ("networkctl reload",)
NETWORK_MANAGER = ("systemctl restart NetworkManager",)
NETWORK_MANAGER_TOO = ("nmcli general reload", "nmcli connection reload")
NETWORK_MANAGER_TAKES = ("nmcli device reapply eth0", "nmcli --wait 20 connection up eth0")
DROP_INS = (
    "/etc/systemd/networkd.conf.d/60-vrrpd.conf",
    "/etc/systemd/network/00-vrrpd.network",
    "/etc/systemd/network/10-eth0.network.d/60-vrrpd.conf",
)
STATIC = ("198.18.54.", "203.0.116.", "lookup 103")  # what no router's state has a say in
DEVICES = ("back6", "lan.52", "lan.53")  # use_vmac NAME, and vmac_prefix
Until = Callable[..., Any]
Laid = Callable[[Any], set[str]]


def standing(cluster: Any) -> dict[str, Any]:
    """Every instance's state, and how often it has become MASTER."""
    return {
        f"{node.name} {one['name']}": (one["state"], one["counters"]["become_master"])
        for node in cluster.routers.values()
        for one in node.status()["instances"]
    }


@contextlib.contextmanager
def gone(node: Any) -> Iterator[list[str]]:
    """What the kernel says was deleted meanwhile."""
    node.run(
        "systemd-run --quiet --collect --unit=monitor --property=StandardOutput=truncate:/run/monitor"
        " ip -o monitor address route rule"
    )
    seen: list[str] = []
    try:
        yield seen
    finally:
        node.run("systemctl stop monitor")
        seen += [line for line in node.run("cat /run/monitor").splitlines() if "Deleted" in line]


def ours(deleted: list[str], before: set[str]) -> list[str]:
    """Those of the deleted that were ours; the kernel's own table goes with the addresses."""
    words = {f" {each.split()[0]}" for each in before if " on " in each} | {"203.0.11", "lookup 10"}
    return [line for line in deleted if any(word in line for word in words) and "table local" not in line]


@pytest.fixture(scope="module", autouse=True)
def started_anew(cluster: Any, until: Until) -> None:
    """networkd reads its settings when it starts, and the role does not start it."""
    for name in ("router2", "router3"):
        cluster.one_owner("BACK_4" if name == "router2" else "SIDE_4", cluster.except_for())
    cluster.routers["router2"].run("systemctl restart systemd-networkd")
    settled(cluster.routers["router2"], until)


def settled(node: Any, until: Until) -> None:
    """networkd says that it is through with eth0."""
    command = "networkctl status eth0 --no-pager | grep State:"
    assert "configured" in until(lambda: str(node.host.run(command).stdout), lambda seen: "configured)" in seen, 10)


def test_the_files_are_there(cluster: Any) -> None:
    for path in DROP_INS:
        file = cluster.routers["router2"].host.file(path)
        assert (file.user, oct(file.mode)) == ("root", "0o644")
    # Nobody configures anything here by networkd, though it is installed: its own settings, and nothing for eth0.
    assert not cluster.routers["router1"].host.file(DROP_INS[2]).exists
    assert cluster.routers["router1"].host.file(DROP_INS[0]).exists


def test_virtual_interfaces_are_nobody_else_s(cluster: Any) -> None:
    links = cluster.routers["router2"].run("networkctl --no-pager --no-legend list").splitlines()
    setup = {line.split()[1]: line.split()[-1] for line in links}
    assert {name: setup[name] for name in ("eth0", *DEVICES)} == {
        "eth0": "configured",
        **dict.fromkeys(DEVICES, "unmanaged"),
    }
    devices = cluster.routers["router3"].run("nmcli --terse --fields device,state device").splitlines()
    states = dict(line.split(":") for line in devices)
    assert {name: states[name] for name in ("eth0", *DEVICES)} == {
        "eth0": "connected",
        **dict.fromkeys(DEVICES, "unmanaged"),
    }


@pytest.mark.parametrize(
    ("name", "command"),
    [
        *(("router2", each) for each in NETWORKD),
        *(pytest.param("router2", each, marks=pytest.mark.full) for each in NETWORKD_TOO),
        *(("router3", each) for each in NETWORK_MANAGER),
        *(pytest.param("router3", each, marks=pytest.mark.full) for each in NETWORK_MANAGER_TOO),
    ],
)
def test_what_is_ours_stays(name: str, command: str, cluster: Any, until: Until, laid: Laid) -> None:
    node = cluster.routers[name]
    before, states = laid(node), standing(cluster)
    assert len(before) >= 7, before
    with gone(node) as deleted:
        node.run(command)
        if name == "router2":
            settled(node, until)
    assert ours(deleted, before) == []
    assert (laid(node), standing(cluster)) == (before, states)


def back(cluster: Any, until: Until, laid: Laid, node: Any, before: set[str], states: dict[str, Any]) -> None:
    """The node has what it had, and every router its former state."""
    wanted = {name: state for name, (state, _) in states.items()}

    def look() -> tuple[set[str], dict[str, str]]:
        return laid(node), {name: state for name, (state, _) in standing(cluster).items()}

    assert until(look, lambda seen: seen == (before, wanted), 15) == (before, wanted)


def test_networkd_configures_the_interface_anew(cluster: Any, until: Until, laid: Laid) -> None:
    node = cluster.routers["router2"]
    before, states = laid(node), standing(cluster)
    with gone(node) as deleted:
        node.run(RECONFIGURE)
        settled(node, until)
    assert [line for line in deleted if any(word in line for word in STATIC)] == []
    back(cluster, until, laid, node, before, states)


@pytest.mark.parametrize("command", NETWORK_MANAGER_TAKES)
def test_what_network_manager_takes_comes_back(command: str, cluster: Any, until: Until, laid: Laid) -> None:
    node = cluster.routers["router3"]
    before, states = laid(node), standing(cluster)
    node.run(command)
    back(cluster, until, laid, node, before, states)


def test_without_the_files_networkd_takes_it(cluster: Any, until: Until, laid: Laid, site: Callable[..., Any]) -> None:
    """What the files are for; what is taken is put back, and the next run brings the files again."""
    node = cluster.routers["router2"]
    before, states = laid(node), standing(cluster)
    node.run(f"rm {' '.join(DROP_INS)}; systemctl restart systemd-networkd")
    settled(node, until)
    with gone(node) as deleted:
        node.run(RECONFIGURE)
        settled(node, until)
    seen = "\n".join(deleted)
    assert [word for word in STATIC if word not in seen] == []
    back(cluster, until, laid, node, before, states)

    shown = site("--check", "--diff")
    assert shown.counts("changed") == {"router1": 0, "router2": 1, "router3": 0}
    assert "+KeepConfiguration=static" in shown.output
    assert not node.host.file(DROP_INS[2]).exists
    run = site()
    assert run.counts("changed") == {"router1": 0, "router2": 1, "router3": 0}
    assert "systemd-networkd runs and reads" in run.output
    node.run("systemctl restart systemd-networkd")
    settled(node, until)


@pytest.mark.full
@pytest.mark.parametrize("name", ["router2", "router3"])
def test_a_link_that_was_down_has_everything_again(name: str, cluster: Any, until: Until, laid: Laid) -> None:
    node = cluster.routers[name]
    before, states = laid(node), standing(cluster)
    node.run("ip link set eth0 down && sleep 0.5 && ip link set eth0 up")
    back(cluster, until, laid, node, before, states)
