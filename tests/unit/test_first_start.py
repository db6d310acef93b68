"""vrrp_startup_delay and vrrp_delay_after_boot: the later of the two moments."""

from __future__ import annotations

import pytest

from vrrpd.model.globals import GlobalDefs
from vrrpd.vrrp_daemon import first_start


@pytest.mark.parametrize(
    ("startup", "boot", "wanted"),
    [(0.0, 0.0, 0.0), (5.5, 0.0, 1005.5), (0.0, 60.0, 60.0), (5.5, 60.0, 1005.5), (5.5, 2000.0, 2000.0)],
)
def test_the_later_one_counts(startup: float, boot: float, wanted: float) -> None:
    defs = GlobalDefs(vrrp_startup_delay=startup, vrrp_delay_after_boot=boot)
    assert first_start(defs, started=1000.0) == wanted
