"""Every file of ok/ gives its .json, every file of bad/ its .err: exit status and rendered diagnostics.

`pytest tests/conf --rewrite` writes both anew; the diff is the review. The .json holds what differs from the
defaults of the model's dataclasses, and the warnings.
"""

from __future__ import annotations

import dataclasses
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from vrrpd.check_config import VALID, exit_status
from vrrpd.model.globals import GlobalDefs
from vrrpd.model.load import Loaded, load

BESIDE = ("interface_delays", "garp_groups")  # in a model; left out of the .json when there are none
HERE = Path(__file__).parent
SEED = HERE.parent / "seed"
TRACKERS = ("vrrp_scripts", "track_files", "track_processes")


def read(path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Loaded:
    """Load by relative name, as the fixed node node1, so that every machine says the same."""
    monkeypatch.chdir(path.parent)
    return load(path.name, node_name="node1.example.net", **options)


def differing(value: Any, name: str = "") -> Any:
    """A dataclass or named tuple as the fields that are not at their default; addresses as text."""
    if dataclasses.is_dataclass(value):
        kept = {
            f.name: getattr(value, f.name) for f in dataclasses.fields(value) if getattr(value, f.name) != f.default
        }
        return {key: differing(item, key) for key, item in kept.items()}
    if hasattr(value, "_fields"):
        plain = value._field_defaults
        kept = {key: item for key, item in value._asdict().items() if key not in plain or item != plain[key]}
        return {key: differing(item, key) for key, item in kept.items()}
    if isinstance(value, bytes):
        if len(value) in (4, 16) and name not in ("auth_pass", "body"):
            return socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)
        return value.hex(":") if name in ("mac", "body") else value.decode()
    if isinstance(value, (tuple, list)):
        return [differing(item, name) for item in value]
    return value


def compare(path: Path, found: str, rewrite: bool) -> None:
    if rewrite:
        path.write_text(found)
    assert found == path.read_text()


@pytest.mark.parametrize("path", sorted((HERE / "ok").glob("*.conf")), ids=lambda path: path.stem)
def test_accepted(path: Path, monkeypatch: pytest.MonkeyPatch, rewrite: bool) -> None:
    loaded = read(path, monkeypatch)
    assert loaded.model, "".join(d.render() for d in loaded.diagnostics)
    found = {
        "global_defs": differing(loaded.model.global_defs),
        "vrrp_instances": differing(loaded.model.vrrp_instances),
        **({"vrrp_sync_groups": differing(groups)} if (groups := loaded.model.vrrp_sync_groups) else {}),
        **{name: differing(found) for name in TRACKERS if (found := getattr(loaded.model, name))},
        **{name: differing(made) for name in BESIDE if (made := getattr(loaded.model, name))},
        **({"statics": differing(loaded.model.statics)} if loaded.model.statics else {}),
        "warnings": [d.render().splitlines()[0] for d in loaded.diagnostics],
    }
    compare(path.with_suffix(".json"), json.dumps(found, indent=1) + "\n", rewrite)
    assert exit_status(loaded) == VALID


@pytest.mark.parametrize("path", sorted((HERE / "bad").glob("*.conf")), ids=lambda path: path.stem)
def test_refused(path: Path, monkeypatch: pytest.MonkeyPatch, rewrite: bool) -> None:
    loaded = read(path, monkeypatch)
    assert loaded.model is None
    rendered = "".join(d.render() for d in loaded.diagnostics)
    compare(path.with_suffix(".err"), f"exit {exit_status(loaded)}\n{rendered}", rewrite)
    assert "secret" not in rendered
    assert "ninebytes" not in rendered
    assert read(path, monkeypatch, lenient=True).fatal == loaded.fatal


@pytest.mark.parametrize("path", sorted((HERE / "bad").glob("*.conf")), ids=lambda path: path.stem)
def test_lenient_runs_what_is_not_fatal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = read(path, monkeypatch, lenient=True)
    assert (loaded.model is None) == loaded.fatal
    assert loaded.fatal or {d.severity for d in loaded.diagnostics} == {"warning"}


@pytest.mark.parametrize("name", ["master", "backup"])
def test_seed(name: str) -> None:
    loaded = load(str(SEED / f"{name}.conf"))
    assert exit_status(loaded) == VALID
    assert loaded.model
    (instance,) = loaded.model.vrrp_instances
    assert (instance.name, instance.state, instance.priority) == ("VI_1", name.upper(), 100)
    assert instance.authentication
    assert instance.authentication.auth_pass == b"xxx"
    assert instance.notify_master
    assert instance.notify_master.argv == ("service", "iscsitarget", "restart")
    assert loaded.model.global_defs == GlobalDefs(
        router_id="HOSTNAME_SERVER",
        notification_email=("admin@example.net",),
        notification_email_from="noreply@example.net",
        smtp_server=("smtp.example.net", 25),
        smtp_alert_vrrp=False,
        vrrp_garp_lower_prio_delay=5.0,
        vrrp_garp_lower_prio_repeat=5,
    )
