"""Before anything was deployed: `--check --diff` foretells the deploy and leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_check_mode_foretells_the_deploy_and_leaves_nothing(cluster: Any, site: Callable[..., Any]) -> None:
    run = site("--check", "--diff")
    assert all(run.counts("changed").values()), run.output
    assert "+vrrp_instance VI_1 {" in run.output
    for node in cluster.routers.values():
        assert node.run("sh /lab/footprint") == node.run("cat /root/before")
