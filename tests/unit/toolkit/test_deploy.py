"""vrrpd_deploy as Ansible runs it, into a folder taken for the root of a node's file system."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.module_utils.vrrpd_control import SOCKET

from .conftest import ROOT, load

CONFIG = """# Managed by Ansible (vrrpd)

vrrp_instance VI_1 {
    interface lo_that_is_not
    virtual_router_id 51
    authentication {
        auth_type PASS
        auth_pass @@VI_1.auth_pass@@
    }
    virtual_ipaddress {
        192.0.2.100/24
    }
}
"""
Run = Callable[..., dict[str, Any]]


def encoded(secret: str) -> str:
    return base64.b64encode(json.dumps({"@@VI_1.auth_pass@@": secret}).encode()).decode()


@pytest.fixture(scope="session")
def module() -> ModuleType:
    return load("library", "vrrpd_deploy")


@pytest.fixture(scope="session")
def archive(deploy_action: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(path, checksum) of this checkout's release."""
    data = deploy_action.archive()
    path = tmp_path_factory.mktemp("archive") / "release.tar.gz"
    path.write_bytes(gzip.compress(data))
    return str(path), hashlib.sha256(data).hexdigest()


@pytest.fixture
def node(tmp_path: Path) -> Path:
    root = tmp_path / "node"
    root.mkdir()
    return root


@pytest.fixture
def deploy(module: ModuleType, archive: tuple[str, str], node: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(check: bool = False, **changes: Any) -> dict[str, Any]:
        path, checksum = archive
        arguments: dict[str, Any] = {
            "config": CONFIG,
            "secrets": encoded("hunter2"),
            "sysctls": {"net.ipv4.ip_forward": True},
            "root": str(node),
            "python": sys.executable,
            "version": "1",
            "checksum": checksum,
            "archive": path,
            "_ansible_check_mode": check,
            **changes,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def shown(result: dict[str, Any]) -> str:
    """The part of a result that a person sees."""
    return json.dumps({key: value for key, value in result.items() if key != "invocation"})


def test_without_the_archive_it_asks_for_it(deploy: Run, node: Path) -> None:
    assert deploy(archive=None)["need_archive"] is True
    assert list(node.iterdir()) == []


def test_check_mode_on_a_fresh_node_shows_everything_and_leaves_nothing(deploy: Run, node: Path) -> None:
    result = deploy(check=True)
    assert result["changed"] is True
    assert {diff["after_header"] for diff in result["diff"]} == {
        "/opt/vrrpd/releases/",
        "/opt/vrrpd/current",
        "/usr/local/sbin/vrrpd",
        "/usr/local/sbin/vrrpctl",
        "/etc/systemd/system/vrrpd.service",
        "/etc/vrrpd/vrrpd.conf",
        "/etc/sysctl.d/60-vrrpd.conf",
    }
    assert "there is no lo_that_is_not on this machine" in str(result["diagnostics"])
    assert list(node.iterdir()) == []


def test_deployed_once_and_never_again(deploy: Run, node: Path) -> None:
    assert deploy()["changed"] is True
    config = node / "etc/vrrpd/vrrpd.conf"
    assert "auth_pass hunter2\n" in config.read_text()
    assert config.stat().st_mode & 0o7777 == 0o640
    assert (node / "opt/vrrpd/current").resolve() == (node / "opt/vrrpd/releases/1").resolve()
    assert (node / "usr/local/sbin/vrrpctl").stat().st_mode & 0o7777 == 0o755
    assert (node / "etc/sysctl.d/60-vrrpd.conf").read_text().endswith("net.ipv4.ip_forward = 1\n")
    again = deploy(archive=None)
    assert (again["changed"], again["diff"]) == (False, [])


def test_what_all_nodes_must_change_at_once_lies_aside(
    deploy: Run, node: Path, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy()
    config, aside = node / "etc/vrrpd/vrrpd.conf", node / "etc/vrrpd/vrrpd.conf.aside"
    former = config.read_text()
    with monkeypatch.context() as patched:
        patched.setattr(module.Deploy, "_action", lambda *_: ("reload", "barrier"))
        result = deploy(secrets=encoded("hunter3"))
    assert (result["changed"], result["kind"]) == (True, "barrier")
    assert [diff["after_header"] for diff in result["diff"]] == ["/etc/vrrpd/vrrpd.conf"]
    assert config.read_text() == former
    assert aside.read_text() == former.replace("hunter2", "hunter3")
    assert aside.stat().st_mode & 0o7777 == 0o640
    # The next run without that wish leaves nothing behind, and changes nothing.
    assert deploy()["changed"] is False
    assert not aside.exists()


def test_a_changed_password_is_seen_and_not_shown(deploy: Run, node: Path) -> None:
    deploy()
    result = deploy(secrets=encoded("hunter3"))
    assert result["changed"] is True
    [diff] = result["diff"]
    before, after = (set(diff[side].splitlines()) for side in ("before", "after"))
    assert before - after == {"        auth_pass ********"}
    assert after - before == {"        auth_pass ******** (changed)"}
    assert "auth_pass hunter3\n" in (node / "etc/vrrpd/vrrpd.conf").read_text()
    assert not any(secret in shown(result) for secret in ("hunter2", "hunter3", encoded("hunter3")))


def test_a_password_that_is_a_common_word_does_not_garble_the_report(deploy: Run) -> None:
    result = deploy(secrets=encoded("vrrp"))
    assert {diff["after_header"] for diff in result["diff"]} >= {"/etc/vrrpd/vrrpd.conf", "/opt/vrrpd/current"}
    [config] = [diff["after"] for diff in result["diff"] if diff["after_header"] == "/etc/vrrpd/vrrpd.conf"]
    assert "vrrp_instance VI_1 {" in config
    assert "auth_pass ********\n" in config


def test_a_broken_configuration_replaces_nothing(deploy: Run, node: Path) -> None:
    deploy()
    good = (node / "etc/vrrpd/vrrpd.conf").read_text()
    result = deploy(config=CONFIG.replace("virtual_router_id 51", "virtual_router_id 510\n    prioritty 9"))
    assert result["failed"] is True
    lines = result["msg"].splitlines()
    assert lines[0] == "the configuration is not valid, nothing was replaced (vrrpd -t: 4):"
    assert any(line.startswith("/etc/vrrpd/vrrpd.conf:5:") and "510" in line for line in lines)
    assert any(line.startswith("/etc/vrrpd/vrrpd.conf:6:5: error: unknown keyword 'prioritty'") for line in lines)
    assert (node / "etc/vrrpd/vrrpd.conf").read_text() == good
    assert "hunter2" not in shown(result)


def test_a_broken_configuration_is_found_in_check_mode_on_a_fresh_node(deploy: Run, node: Path) -> None:
    result = deploy(check=True, config=CONFIG.replace("interface", "interfase"))
    assert "unknown keyword 'interfase'" in result["msg"]
    assert list(node.iterdir()) == []


def test_the_password_of_a_refused_line_is_not_shown(deploy: Run) -> None:
    result = deploy(secrets=encoded("toolongpass"))
    assert result["failed"] is True
    assert "/etc/vrrpd/vrrpd.conf:8:" in result["msg"]
    assert "toolong" not in shown(result)


def test_old_releases_go_and_the_current_one_stays(deploy: Run, node: Path) -> None:
    for version in ("1", "2", "3"):
        deploy(version=version, releases_kept=2)
    assert sorted(path.name for path in (node / "opt/vrrpd/releases").iterdir()) == ["2", "3"]
    assert deploy(version="3", releases_kept=2)["previous_release"] == "3"


def test_absent_leaves_nothing(deploy: Run, node: Path) -> None:
    deploy()
    assert deploy(state="absent", check=True)["changed"] is True
    assert (node / "etc/vrrpd/vrrpd.conf").exists()
    assert deploy(state="absent")["changed"] is True
    assert [path for path in node.rglob("*") if not path.is_dir()] == []
    assert not any("vrrpd" in path.name for path in node.rglob("*"))
    assert deploy(state="absent")["changed"] is False


def test_a_host_that_left_is_named_until_it_is_retired(deploy: Run) -> None:
    deploy(cluster="vrrp", members=["lb1", "lb2"])
    result = deploy(cluster="vrrp", members=["lb1"])
    assert result["left"] == ["lb2"]
    assert deploy(cluster="vrrp", members=["lb1"])["left"] == ["lb2"]
    assert deploy(cluster="vrrp", members=["lb1"], retired=["lb2"])["left"] == []
    assert deploy(cluster="vrrp", members=["lb1"])["left"] == []


def test_the_daemon_is_where_the_modules_ask_whatever_its_namespace() -> None:
    """net_namespace and instance would give it folders of their own."""
    unit = (ROOT / "vrrpd/vrrpd.service").read_text(encoding="utf-8")
    assert f"--run-dir {Path(SOCKET).parent}\n" in unit


def test_a_new_unit_says_what_only_a_restart_brings() -> None:
    """systemd looks the rest up when it needs it, after daemon-reload."""
    needs_restart = load("library", "vrrpd_deploy").needs_restart
    old = "[Service]\n# A=b\nExecStart=/a\nWatchdogSec=10\nKillMode=mixed\nExecStopPost=/x\nEnvironment=A=1\n"
    new = "[Service]\nExecStart=/a\nWatchdogSec=1\nKillMode=control-group\nExecStopPost=/y\nExecStopPost=/z\nNice=1\n"
    assert needs_restart(old, new) == ["Environment", "Nice", "WatchdogSec"]
    assert needs_restart(old, old.replace("A=b", "another comment")) == []


def test_keys_that_understand_each_other_follow_host_by_host(module: ModuleType) -> None:
    """What runs is compared with what is to run: another key that is known there, or one that is not."""
    secrets = {"@@1@@": "hex:one", "@@2@@": "hex:two", "@@new@@": "hex:other"}
    wires = {"VI_1": "the same"}

    def kind(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
        deploy = object.__new__(module.Deploy)
        deploy.real, deploy.hung, deploy._text = True, "", lambda: ("", secrets)
        deploy.wants = {"version": "1", "wires": wires, "hmac": {"VI_1": before} if before else {}}
        record: dict[str, Any] = {"wires": {"old": deploy._digests()}}
        if before:
            record["hmac"] = {"old": deploy._keys()}
        assert "hex:" not in json.dumps(record)
        deploy.wants["hmac"] = {"VI_1": after} if after else {}
        deploy.record = record
        action, kind = deploy._action({"pid": 1, "release": "1", "config_sha256": "old"}, "new")
        assert action == "reload"
        return str(kind)

    one = {"sends": "1 @@1@@", "accepts": ["1 @@1@@"]}
    both = {"sends": "1 @@1@@", "accepts": ["1 @@1@@", "2 @@2@@"]}
    second = {**both, "sends": "2 @@2@@"}
    replaced = {"sends": "1 @@new@@", "accepts": ["1 @@new@@"]}
    quiet = {"sends": "", "accepts": ["1 @@1@@", ""]}
    for before, after in ((None, None), (one, both), (both, second), (second, both), (None, quiet), (quiet, None)):
        assert kind(before, after) == "rolling", (before, after)
    for before, after in ((None, one), (one, None), (one, second), (one, replaced), (quiet, one)):
        assert kind(before, after) == "barrier", (before, after)
