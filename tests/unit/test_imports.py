"""What the processes that must stay small may import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vrrpd import aftermath, statics, vmacs

ROOT = str(Path(aftermath.__file__).parents[1])


@pytest.mark.parametrize("module", ["guard", "vrrp_daemon", "will"])
def test_neither_pyroute2_nor_asyncio_nor_the_reader_is_loaded(module: str) -> None:
    """pyroute2 costs 24 MB and 0.3 s; the reader of configurations and what it needs, 4 MB, are the loader child's."""
    code = f"import sys, vrrpd.{module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert f"vrrpd.{module}" in loaded
    heavy = {"pyroute2", "asyncio", "multiprocessing", "dataclasses", "inspect", "ipaddress", "pickle"}
    assert not loaded & {*heavy, "vrrpd.model.load", "vrrpd.model.vrrp", "vrrpd.conf.schema", "vrrpd.conf.types"}


def test_what_undoes_a_killed_daemon_imports_neither_it_nor_the_model() -> None:
    """Another host has its addresses meanwhile: importing all of that would take as long as the rest."""
    code = "import sys, vrrpd.aftermath; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {ROOT!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name for name in done.stdout.split() if name.startswith(("vrrpd.model", "vrrpd.conf", "dataclasses"))}
    assert not loaded
    assert (aftermath.DEVICES, aftermath.STATICS) == (vmacs.FILE, statics.FILE)


def test_the_version_costs_no_daemon() -> None:
    code = "import sys\nfrom vrrpd.cli import main\ntry: main(['--version'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"vrrpd.guard", "vrrpd.conf.schema", "ctypes"} & set(done.stdout.split())
