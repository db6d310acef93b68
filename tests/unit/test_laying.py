"""laying.py: whose a route or a rule is."""

from __future__ import annotations

import errno

from vrrpd.laying import Laying
from vrrpd.model.load import load
from vrrpd.net.links import Links
from vrrpd.vrrp.announce import Announcer
from vrrpd.vrrp.estate import Laid
from vrrpd.vrrp.router import VirtualRouter
from vrrpd.vrrp.timers import Timers

FILE = """
vrrp_instance VI_1 {
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {
        10.0.0.100/24
    }
    virtual_rules {
        from 10.0.0.0/8 lookup 7 preference 100 no_track
    }
}
"""


def test_what_we_removed_is_somebody_elses_when_it_is_there_again() -> None:
    model = load("a.conf", text=FILE, node_name="node1").model
    assert model is not None
    timers = Timers()
    router = VirtualRouter(model.vrrp_instances[0], timers, Announcer(timers), {})
    (rule,) = router.routing
    laying = Laying(Links())

    def turn(code: int) -> int:
        """Carry out what is queued; the number of removals."""
        before, behind = laying.requests()
        laying.answered([code] * len([*before, *behind]))
        return len(before)

    laying.succeed([Laid(rule, ())])  # a former router of ours had it
    laying.add(router, [rule])
    assert turn(errno.EEXIST) == 0
    laying.remove(router, [rule])
    assert turn(0) == 1, "it was ours"
    laying.add(router, [rule])  # meanwhile somebody has added the same
    assert turn(errno.EEXIST) == 0
    laying.remove(router, [rule])
    assert turn(0) == 0, "it is his"
