"""After the owner was broken: exactly one other owner by state and by address, and the client sees it."""

from __future__ import annotations

from typing import Any

import pytest

INSTANCES = ["VI_1", "VI_6"]


@pytest.fixture
def heard(cluster: Any, record: dict[str, Any]) -> list[Any]:
    """The routers that hear each other: all but the broken one, unless it mended itself."""
    return cluster.except_for() if record["victim_state"] == "restarted" else cluster.except_for(record["victim"])


@pytest.mark.parametrize("instance", INSTANCES)
def test_exactly_one_owner_and_the_client_reaches_it(cluster: Any, heard: list[Any], instance: str) -> None:
    owner = cluster.one_owner(instance, heard)
    for address in cluster.virtual[instance]:
        assert cluster.neighbour(address) == owner.mac(), f"{address}: the client knows another owner than {owner.name}"


def test_the_broken_node(cluster: Any, record: dict[str, Any]) -> None:
    victim = cluster.routers[record["victim"]]
    before = {instance["name"]: instance for instance in record["before"]["instances"]}
    everything = {address for addresses in cluster.virtual.values() for address in addresses}
    state = record["victim_state"]
    if state == "gone":
        assert victim.host.run("true").rc != 0
    elif state == "stopped":
        assert victim.status() == {}
        assert not victim.addresses() & everything
    elif state == "FAULT":
        assert set(victim.states().values()) == {"FAULT"}
        assert not victim.addresses() & everything
    elif state == "MASTER":  # it hears nobody and cannot know: it goes on, as RFC 9568 6.4.3 has it
        assert set(victim.states().values()) == {"MASTER"}
        assert everything <= victim.addresses()
    else:
        assert state == "restarted"
        assert set(victim.states()) == set(before)
        processes = victim.status()["processes"]
        assert processes["vrrp"] != record["before"]["processes"]["vrrp"]
        # The guard restarts its workers; only its own death is systemd's matter.
        assert (processes["guard"] == record["before"]["processes"]["guard"]) == (record["fault"] == "daemon")


def test_the_client_waited_no_longer_than_the_protocol_allows(cluster: Any, record: dict[str, Any]) -> None:
    for measured, limit in zip(cluster.measured(), record["gap_limit"], strict=True):
        assert measured["answering"], measured
        assert measured["longest"] <= limit, measured
