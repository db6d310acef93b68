"""After the broken owner is back: it preempts, it is the only owner, and the way back cost the client nothing."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("instance", ["VI_1", "VI_6"])
def test_the_first_router_owns_again_and_alone(cluster: Any, instance: str) -> None:
    owner = cluster.one_owner(instance, cluster.except_for())
    assert owner.name == "router1"
    for address in cluster.virtual[instance]:
        assert cluster.neighbour(address) == owner.mac()


def test_the_others_are_backups_that_hear_it(cluster: Any) -> None:
    for node in cluster.except_for("router1"):
        for instance in node.status()["instances"]:
            assert instance["state"] == "BACKUP"
            assert instance["master"]["priority"] == 200


def test_the_way_back_cost_the_client_next_to_nothing(cluster: Any) -> None:
    for measured in cluster.measured():
        assert measured["answering"], measured
        assert measured["longest"] <= 0.3, measured
