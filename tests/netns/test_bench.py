"""The benchmarks measure: one scenario, once, both daemons. What they find is docs/benchmarks.md's matter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import ROOT


def measured(name: str, output: Path, *options: str) -> tuple[list[dict[str, Any]], str]:
    """The rows of a run of that benchmark, and what it printed."""
    command = [sys.executable, str(ROOT / f"bench/{name}.py"), *options, f"--output={output}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))["rows"]
    assert not [row["failed"] for row in rows if "failed" in row]
    return rows, done.stdout


def test_failover_tells_a_planned_stop_of_one_daemon_from_the_others(tmp_path: Path) -> None:
    rows, printed = measured("failover", tmp_path / "failover", "--runs=1", "--scenarios=stop")
    outage = {(row["daemon"], row["scenario"]): row["outage"] for row in rows}
    assert len(outage) == 4
    # keepalived's costs the skew time at least, 61 ms here (RFC 9568 6.1); ours goes on answering.
    assert outage["keepalived", "planned stop"] > max(50, outage["vrrpd", "planned stop"])
    assert "| planned stop" in printed
    assert "planned stop" in (tmp_path / "failover-outage.svg").read_text(encoding="utf-8")


@pytest.mark.full
def test_scale_measures_every_step(tmp_path: Path) -> None:
    rows, _ = measured("scale", tmp_path / "scale", "--routers=300", "--window=1")
    assert [row["daemon"] for row in rows] == ["vrrpd", "keepalived"]
    for row in rows:
        assert row["cpu_a"] > 0 < row["cpu_b"]
        assert row["pss_a"] > 1000
        assert row["reload_gap"] > 0.9, "adverts were seen"
        assert {"start", "stop_spread", "stop_exit", "loss_spread"} <= set(row)
    assert "vrrpd, 0.1 s" in (tmp_path / "scale-cpu.svg").read_text(encoding="utf-8")
