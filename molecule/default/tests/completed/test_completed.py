"""The router is back: the next run completes it, and brings everybody to the inventory's configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_the_next_run_completes_all(cluster: Any, site: Callable[..., Any]) -> None:
    site()
    texts = {node.run("grep -vE 'priority|state' /etc/vrrpd/vrrpd.conf") for node in cluster.routers.values()}
    assert len(texts) == 1
    assert cluster.one_owner("VI_1", cluster.except_for()).name == "router1"
    assert not any(site().counts("changed").values())
