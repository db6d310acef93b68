"""Files as keepalived.conf(5) has them, one a subject, and what is easily got wrong: our verdict and `keepalived -t`'s.

The corpus is written after the page's own examples, `site_*` after what generators write and what is copied from web
pages, with programs that every machine has. `bad_*` are the mistakes that people make with what stands outside
an instance. A verdict is equal, or DIFFERENT says why it is not: ours is better, or we do not support something yet.
The files allow interfaces that do not exist (dynamic_interfaces), so that the machine has no say.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vrrpd.check_config import exit_status
from vrrpd.model.load import load

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.conf"))
DIFFERENT = {  # file: (keepalived -t of 2.2.7, vrrpd -t, reason)
    "auth_hmac": (5, 0, "keepalived 2.4 has it"),
    "bad_fifo": (
        0,
        5,
        "two writers to one pipe would mix their lines; the man page forbids it, the program does not see",
    ),
    "bad_track_later": (5, 0, "a name may be defined below its use"),
    "bad_track_own_interface": (5, 0, "the instance tracks its own interface in any case: nothing is lost, a warning"),
    "bfd": (0, 5, "track_bfd is not supported yet: a failure would not be noticed"),
    "deprecated_routes": (5, 0, "'gw' and 'or' still mean what they say: a warning"),
    "newer_than_2_2_7": (5, 0, "keywords of 2.2.8 to 2.4"),
    "site_anycast_gateway": (5, 0, "the own interface tracked once more: a warning"),
    "site_neutron": (5, 0, "the scope of an IPv6 address follows from it, and saying the same harms nobody"),
}


def keepalived(path: Path) -> int:
    command = ["keepalived", "-t", "-l", "-i", "main", "-f", str(path)]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_verdict(path: Path) -> None:
    loaded = load(str(path), config_id="main", node_name="node1")
    theirs, ours = keepalived(path), exit_status(loaded)
    said = "".join(each.render() for each in loaded.diagnostics)
    expected = DIFFERENT.get(path.stem, (theirs, theirs))[:2]
    assert (theirs, ours) == expected, said
