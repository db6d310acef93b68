"""playbooks/rotate_keys.yml where something is wrong: it stops, says where and what to do, and nobody notices.

A stranger on the network speaks in router2's name with a key that nobody has: router3 rejects that, as it would the
adverts of a host that was left out. Then the keys are rotated after all, also from where an operator interrupted it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.full

NEW = {"3": "hex:" + "3f5a" * 16}
GROUP = ("BACK_4", "BACK_6")
ROTATE = "playbooks/rotate_keys.yml"
ADVICE = "Compare the keys of the nodes (vrrpctl status NAME) and their clocks"
Rotate = Callable[..., Any]
Until = Callable[..., Any]


@pytest.fixture(scope="module")
def log() -> list[str]:
    """Whatever the runs of this file print, at their most talkative."""
    return []


@pytest.fixture(scope="module")
def old(cluster: Any) -> dict[str, str]:
    keys: dict[str, str] = {
        str(number): key for number, key in cluster.variables["vrrpd_instances"]["BACK_4"]["auth_hmac"]["key"].items()
    }
    return keys


@pytest.fixture(scope="module")
def rotate(cluster: Any, site: Callable[..., Any], log: list[str], old: dict[str, str]) -> Rotate:
    """`rotate(active, numbers, ...)`: the playbook with these keys in the inventory."""

    def run(active: int, numbers: str, *arguments: str, **how: Any) -> Any:
        hmac = {"key": {number: {**old, **NEW}[number] for number in numbers.split()}, "active_key": active}
        instances = cluster.variables["vrrpd_instances"]
        changed = {**instances, **{name: {**instances[name], "auth_hmac": hmac} for name in GROUP}}
        path = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "keys.json"
        path.write_text(json.dumps({"vrrpd_instances": changed}))
        done = site("-vvv", "--diff", "-e", f"@{path}", *arguments, name=ROTATE, **how)
        log.append(done.output)
        return done

    return run


def keys(cluster: Any, *names: str) -> dict[str, tuple[int, tuple[int, ...]]]:
    """By node, the key that BACK_4 sends with and those that it knows."""
    return {
        node.name: (one["auth_hmac"]["active_key"], tuple(one["auth_hmac"]["keys"]))
        for node in (cluster.routers[name] for name in names or cluster.routers)
        for one in node.status().get("instances", [])
        if one["name"] == "BACK_4"
    }


def everywhere(active: int, *known: int) -> dict[str, tuple[int, tuple[int, ...]]]:
    return dict.fromkeys(("router1", "router2", "router3"), (active, known))


@contextlib.contextmanager
def stranger(cluster: Any) -> Iterator[Callable[[], None]]:
    """Whoever calls what this gives lets it begin."""
    source, destination = cluster.routers["router2"].ip4, cluster.routers["router3"].ip4

    def begin() -> None:
        command = f"systemd-run --quiet --collect --unit=stranger python3 /lab/stranger.py 52 {source} {destination}"
        cluster.client.run(command)

    try:
        yield begin
    finally:
        cluster.client.run("systemctl stop stranger")


@pytest.fixture(scope="module", autouse=True)
def served(cluster: Any, until: Until, site: Callable[..., Any]) -> Iterator[None]:
    """Through all of this: the address has one owner, always the same, and the client sees no gap."""
    owners = {name: cluster.one_owner(name, cluster.except_for()).name for name in GROUP}
    before = become_master(cluster)
    cluster.client.run("sh /lab/measure start 198.18.53.101 fd00:53::101")
    try:
        yield
    finally:
        cluster.client.run("sh /lab/measure stop")
        site()  # the inventory's own keys, on all nodes at once
    assert {name: cluster.one_owner(name, cluster.except_for()).name for name in GROUP} == owners
    assert become_master(cluster) == before
    for seen in cluster.measured():
        assert seen["answered"] > 1000
        assert seen["longest"] < 1, seen


def become_master(cluster: Any) -> dict[str, int]:
    """Of the group whose keys they are, on the nodes whose daemon nobody stops here."""
    return {
        f"{node.name} {one['name']}": one["counters"]["become_master"]
        for node in cluster.except_for("router1")
        for one in node.status()["instances"]
        if one["name"] in GROUP
    }


def test_it_needs_all_nodes(cluster: Any, rotate: Rotate) -> None:
    run = rotate(3, "1 2 3", "--limit", "router1,router3", status=2)
    assert "keys are rotated on all nodes of a cluster, and router2 would not take part" in run.output
    assert keys(cluster) == everywhere(1, 1, 2)


def test_it_does_not_begin_where_adverts_are_rejected(cluster: Any, rotate: Rotate) -> None:
    with stranger(cluster) as begin:
        begin()
        run = rotate(3, "1 2 3", status=2)
    assert "router3 rejects adverts: BACK_4 auth_ext_unknown_key" in run.output
    assert ADVICE in run.output
    assert "Nothing was changed." in run.output
    assert not any(run.counts("changed").values())
    assert keys(cluster) == everywhere(1, 1, 2)


def test_it_does_not_retire_a_key_while_adverts_are_rejected(cluster: Any, rotate: Rotate, until: Until) -> None:
    with stranger(cluster) as begin:
        over = threading.Event()

        def watch() -> None:
            """The stranger appears when all nodes send with the new key."""
            if until(lambda: over.is_set() or keys(cluster) == everywhere(3, 1, 2, 3), bool, 200) and not over.is_set():
                begin()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            run = rotate(3, "1 2 3", status=2)
        finally:
            over.set()
            watcher.join()
    assert "router3 rejects adverts: BACK_4 auth_ext_unknown_key" in run.output
    assert "Until here every node knows the new key and sends with it, and the old one is still known." in run.output
    assert keys(cluster) == everywhere(3, 1, 2, 3)


def test_it_goes_on_where_it_stopped(cluster: Any, rotate: Rotate) -> None:
    run = rotate(3, "1 2 3")
    assert not any(run.counts("changed").values()), "all nodes have had it"
    assert keys(cluster) == everywhere(3, 1, 2, 3)


def test_check_mode_shows_and_changes_nothing(cluster: Any, rotate: Rotate) -> None:
    run = rotate(3, "3", "--check")
    assert all(run.counts("changed").values()), run.output
    assert "-        key 1 ********" in run.output
    assert keys(cluster) == everywhere(3, 1, 2, 3)


def test_an_interrupted_rotation_is_completed_by_the_next(cluster: Any, rotate: Rotate) -> None:
    """The operator interrupts when the first node has forgotten the old keys: the owner's turn is the last."""
    first = {"router1": (3, (3,))}
    run = rotate(3, "3", until=lambda: keys(cluster, "router1") == first, status=None)
    assert run.status != 0
    half = keys(cluster)
    assert half != everywhere(3, 3), "it came too late to show anything"
    assert set(half.values()) == {(3, (3,)), (3, (1, 2, 3))}
    rotate(3, "3")
    assert keys(cluster) == everywhere(3, 3)


def test_a_node_that_does_not_answer_stops_it(cluster: Any, rotate: Rotate) -> None:
    node = cluster.routers["router1"]
    node.run("systemctl stop vrrpd")
    try:
        run = rotate(3, "2 3", status=2)
        assert "router1" in run.output
        assert not any(run.counts("changed").values())
    finally:
        node.run("systemctl start vrrpd")
    assert {name: known for name, known in keys(cluster).items() if name != "router1"} == {
        name: known for name, known in everywhere(3, 3).items() if name != "router1"
    }


def test_no_key_is_anywhere_but_where_it_must_be(cluster: Any, log: list[str], old: dict[str, str]) -> None:
    """In no output, no journal, no command line, and in no file that others than root and the daemon can read."""
    secrets = [key.partition(":")[2] for key in (*old.values(), *NEW.values())]
    assert len(log) > 5
    assert not [number for number, said in enumerate(log) for secret in secrets if secret in said]
    for node in cluster.routers.values():
        told = node.run("journalctl --no-pager -o export | tr -cd '[:print:]\\n'; vrrpctl status --json; ps -eo args e")
        assert not [secret for secret in secrets if secret in told]
        words = " ".join(f"-e {secret}" for secret in secrets)
        found = node.host.run(f"grep -rlaF {words} /etc /run /var /tmp /root /opt /usr/local /dev/shm").stdout.split()
        assert "/etc/vrrpd/vrrpd.conf" in found
        modes = {path: node.run(f"stat -c '%U %G %a' {path}").strip() for path in found}
        assert {path: mode for path, mode in modes.items() if mode not in ("root vrrpd 640", "root root 600")} == {}
