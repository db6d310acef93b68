"""Debian's samples of keepalived: `keepalived -t` beside `vrrpd -t`, as a table, each verdict asserted.

Our verdict is about the VRRP side: load balancing is a warning until it is supported. `where` is the line of our
first error. keepalived's own column is not asserted: it depends on the machine's interfaces and users.
"""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from vrrpd.check_config import exit_status
from vrrpd.model.load import Loaded, load

SAMPLES = Path("/usr/share/doc/keepalived/samples")


class Expected(NamedTuple):
    status: int
    where: int = 0  # 0: no error
    message: str = ""


ACCEPTED = Expected(0)
EXPECTED = {
    "HTTP_GET.port": ACCEPTED,
    "IPv6": ACCEPTED,
    "PING_CHECK": ACCEPTED,
    "SMTP_CHECK": ACCEPTED,
    "SSL_GET": ACCEPTED,
    "UDP_CHECK": ACCEPTED,
    "conditional_conf": ACCEPTED,  # read as node "high"
    "fwmark": ACCEPTED,
    "inhibit": ACCEPTED,
    "misc_check": ACCEPTED,
    "misc_check_arg": ACCEPTED,
    "quorum": ACCEPTED,
    "sample": ACCEPTED,
    "status_code": ACCEPTED,
    "track_interface": ACCEPTED,
    "virtual_server_group": ACCEPTED,
    "virtualhost": ACCEPTED,
    "vrrp": ACCEPTED,
    "vrrp.localcheck": ACCEPTED,
    "vrrp.lvs_syncd": Expected(5, 3, "has no members"),
    "vrrp.routes": ACCEPTED,
    "vrrp.rules": Expected(5, 10, "the rule has no preference"),
    "vrrp.scripts": ACCEPTED,
    "vrrp.static_ipaddress": ACCEPTED,
    "vrrp.sync": ACCEPTED,
}


def keepalived(path: Path) -> str:
    """The exit status of Debian's own checker (it reads, and does nothing else)."""
    done = subprocess.run(["keepalived", "-t", "-f", path], capture_output=True, timeout=30, check=False)
    return str(done.returncode)


def first_error(loaded: Loaded) -> tuple[int, str]:
    """Line and message of what refuses the file; without that line 0 and the first warning."""
    said = f"({loaded.diagnostics[0].message})" if loaded.diagnostics else ""
    return next(((d.line, d.message) for d in loaded.diagnostics if d.severity != "warning"), (0, said))


def samples(folder: Path) -> dict[str, Path]:
    """Name -> file, unpacked where Debian packed it."""
    found = {}
    for path in SAMPLES.glob("keepalived.conf.*"):
        name = path.name.partition(".conf.")[2]
        if path.suffix == ".gz":
            name = name[: -len(".gz")]
            (folder / name).write_bytes(gzip.decompress(path.read_bytes()))
            path = folder / name
        found[name] = path
    return found


def test_every_sample(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = []
    for name, path in sorted(samples(tmp_path).items()):
        loaded = load(str(path), config_id="high")
        line, message = first_error(loaded)
        rows.append((name, keepalived(path), exit_status(loaded), line, message))
    with capsys.disabled():
        print(f"\n{'sample':<24}{'keepalived -t':<15}{'vrrpd -t':<10}{'line':<6}first error (or warning)")
        for name, theirs, ours, line, message in rows:
            print(f"{name:<24}{theirs:<15}{ours:<10}{line or '-':<6}{message[:80]}")
    assert {row[0] for row in rows} >= set(EXPECTED), "Debian's package keepalived is not installed"
    for name, _, ours, line, message in rows:
        expected = EXPECTED.get(name)
        if expected is None:  # of a newer Debian: the table above shows the verdict
            assert ours in (0, 4, 5, 6)
            continue
        assert (ours, line) == (expected.status, expected.where), name
        assert expected.message in message, name
