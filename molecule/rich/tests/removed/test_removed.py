"""playbooks/remove.yml: the network managers are as they were, and nothing of the virtual interfaces is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="module", autouse=True)
def removed(site: Callable[..., Any]) -> None:
    run = site("--diff", name="playbooks/remove.yml")
    assert all(run.counts("changed").values()), run.output
    assert "/etc/systemd/network/10-eth0.network.d/60-vrrpd.conf" in run.output
    assert not any(site(name="playbooks/remove.yml").counts("changed").values())


@pytest.mark.parametrize("name", ["router2", "router3"])
def test_nothing_is_left(cluster: Any, name: str) -> None:
    node = cluster.routers[name]
    before = set(node.run("cat /root/before").splitlines())
    after = set(node.run("sh /lab/footprint").splitlines())
    assert after - before == set(), "left behind"
    assert before - after == set(), "taken away"
    links = node.run("ip -o link; ip route show table all; ip rule")
    assert not any(name in links for name in ("lan.", "back6", "203.0.11", "lookup 10"))
