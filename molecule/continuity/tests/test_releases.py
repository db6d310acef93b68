"""A release after the other under a live owner: there, back, and not to a broken one; a client notices nothing of it.

The other releases are made from copies of this tree, as from another checkout of the operator's.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAILED = 2
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
TREE = ("action_plugins", "library", "module_utils", "roles", "vrrpd", "lab/connection")
FILES = ("ansible.cfg", "site.yml", "LICENSE")
# The first thing that a VRRP process does with its new life.
ENTRY = 'process.set_name("vrrpd-vrrp")'


@pytest.fixture
def checkout(tmp_path: Path) -> Callable[..., Path]:
    """`checkout(version, (file, old, new)...)`: a copy of the project with another version and these edits."""

    def make(version: str, *edits: tuple[str, str, str]) -> Path:
        folder = tmp_path / version
        for name in TREE:
            shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in FILES:
            shutil.copy(PROJECT / name, folder / name)
        this = (PROJECT / "vrrpd/__init__.py").read_text().split('"""')[2]
        for name, old, new in (("vrrpd/__init__.py", this, f'\n\n__version__ = "{version}"\n'), *edits):
            text = (folder / name).read_text()
            assert text.count(old) == 1, f"{name}: {old!r}"
            (folder / name).write_text(text.replace(old, new))
        return folder

    return make


def releases(bench: Any) -> list[str]:
    """What runs, by what is to be started: on each node the same, if all is well."""
    nodes = (bench.master, bench.backup)
    running = [node.status()["release"] for node in nodes]
    assert running == [Path(node.run("readlink -f /opt/vrrpd/current").strip()).name for node in nodes]
    return running


def test_upgrade_and_downgrade(
    bench: Any, watch: Callable[..., Any], site: Callable[..., Any], checkout: Callable[..., Path]
) -> None:
    before, guard = releases(bench), bench.processes(bench.master)["guard"]
    with watch("site.yml: upgrade") as seen:
        assert all(site(project=checkout("9.9.9")).counts("changed").values())
    assert not seen.noticed
    assert all(release.startswith("9.9.9-") for release in releases(bench))

    with watch("site.yml: downgrade") as seen:
        assert all(site().counts("changed").values())
    assert not seen.noticed
    assert releases(bench) == before
    assert bench.processes(bench.master)["guard"] == guard


def test_a_broken_release_is_rolled_back(
    bench: Any, watch: Callable[..., Any], site: Callable[..., Any], checkout: Callable[..., Path]
) -> None:
    """Its VRRP process dies at once. Even on the owner, which the order of a whole run would have spared."""
    before, guard = releases(bench), bench.processes(bench.master)["guard"]
    broken = checkout("9.9.8", ("vrrpd/vrrp_daemon.py", ENTRY, "raise RuntimeError('this release is broken')"))
    with watch("site.yml: a broken release") as seen:
        run = site("--limit", "router1", project=broken, status=FAILED)
    assert not seen.noticed
    assert re.search(r"release 9\.9\.8-\w+ cannot take over", run.output), run.output
    assert f"rolled back: /opt/vrrpd/current leads to release {before[0]}, which runs as before" in run.output
    assert releases(bench) == before
    assert bench.processes(bench.master)["guard"] == guard
    assert not any(site().counts("changed").values()), "nothing is left to mend"
