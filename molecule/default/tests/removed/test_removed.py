"""playbooks/remove.yml: after it the nodes look as they did before the first deploy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module", autouse=True)
def removed(site: Callable[..., Any]) -> None:
    run = site(name="playbooks/remove.yml")
    assert all(run.counts("changed").values()), run.output
    assert not any(site(name="playbooks/remove.yml").counts("changed").values())


@pytest.mark.parametrize("name", ["router1", "router2", "router3"])
def test_nothing_is_left(cluster: Any, name: str) -> None:
    node = cluster.routers[name]
    before = set(node.run("cat /root/before").splitlines())
    after = set(node.run("sh /lab/footprint").splitlines())
    assert after - before == set(), "left behind"
    assert before - after == set(), "taken away"


def test_nobody_answers(cluster: Any) -> None:
    for addresses in cluster.virtual.values():
        for address in addresses:
            target = f"{address}%eth0" if address.startswith("fe80") else address
            assert cluster.client.host.run(f"ping -c 1 -W 1 {target}").rc != 0
