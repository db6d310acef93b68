"""model/groups.py: what a sync group says for its members."""

from __future__ import annotations

import pytest

from vrrpd.model.load import load

FILE = """
vrrp_script chk {
    script /bin/true
    user root
}
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    track_script {
        chk weight %s
    }
    virtual_ipaddress {
        10.0.0.100/24
    }
}
vrrp_instance VI_2 {
    interface eth0
    virtual_router_id 52
    virtual_ipaddress {
        10.0.0.101/24
    }
}
vrrp_sync_group G1 {
    group {
        VI_1
        VI_2
    }
    sync_group_tracking_weight
    track_script {
        chk weight %s
    }
}
"""


@pytest.mark.parametrize(
    ("here", "there", "weight", "said"),
    [
        (10, 20, 20, "the weight there counts"),
        (-10, 20, 20, "the weight there counts"),
        (10, 0, 0, "the weight there counts"),
        (0, 20, 0, "that it means FAULT here counts"),
    ],
)
def test_what_both_track_has_the_groups_weight(here: int, there: int, weight: int, said: str) -> None:
    """As keepalived 2.2.7 does it: read off its data file."""
    found = load("a.conf", text=FILE % (here, there), node_name="node1")
    assert found.model is not None
    instance, _ = found.model.vrrp_instances
    assert [(track.name, track.weight) for track in instance.track_script] == [("chk", weight)]
    assert f"track_script: sync group G1 tracks chk too: {said}" in [problem.message for problem in found.diagnostics]
