"""What surrounds the daemon: rivals found by process, the firewall files, replacing a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.module_utils.vrrpd_host import HostError, rivals, sysctl_text, ufw_text, write


def process(proc: Path, pid: str, name: str, program: str, *arguments: str, net: str = "net:[1]") -> None:
    folder = proc / pid
    (folder / "ns").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cmdline").write_bytes("\0".join([program, *arguments]).encode())
    os.symlink(program, folder / "exe")
    os.symlink(net, folder / "ns" / "net")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    process(tmp_path, "self", "python3", "/usr/bin/python3")
    process(tmp_path, "1", "systemd", "/usr/lib/systemd/systemd")
    return tmp_path


def test_no_rival(proc: Path) -> None:
    process(proc, "30", "vrrpd", "/usr/bin/python3.11", "-I", "-S", "/opt/vrrpd/releases/1", "vrrpd")
    assert rivals(str(proc)) == []


def test_keepalived_is_named_once_with_the_way_out(proc: Path) -> None:
    process(proc, "20", "keepalived", "/usr/sbin/keepalived")
    process(proc, "21", "keepalived", "/usr/sbin/keepalived")
    assert rivals(str(proc)) == [
        "keepalived (pid 20) runs on this node and answers for VRRP addresses itself. Stop it first:"
        " systemctl disable --now keepalived"
    ]


def test_frr(proc: Path) -> None:
    process(proc, "20", "vrrpd", "/usr/lib/frr/vrrpd", "-d")
    assert rivals(str(proc)) == [
        "vrrpd (pid 20) runs on this node and answers for VRRP addresses itself. Stop it first: systemctl disable --now"
        " vrrpd, or in FRR 'vrrpd=no' in /etc/frr/daemons and systemctl restart frr"
    ]


def test_a_daemon_in_another_network_namespace_is_no_rival(proc: Path) -> None:
    process(proc, "20", "keepalived", "/usr/sbin/keepalived", net="net:[2]")
    assert rivals(str(proc)) == []


def test_ufw_opens_before_commit_and_closes_without_a_trace() -> None:
    before = "*filter\n-A ufw-before-input -i lo -j ACCEPT\nCOMMIT\n"
    opened = ufw_text(before, "ufw-before-input", True)
    assert opened.splitlines()[2:6] == [
        "# BEGIN vrrpd (managed by Ansible)",
        "-A ufw-before-input -p 112 -j ACCEPT",
        "# END vrrpd (managed by Ansible)",
        "COMMIT",
    ]
    assert ufw_text(opened, "ufw-before-input", True) == opened
    assert ufw_text(opened, "ufw-before-input", False) == before
    with pytest.raises(HostError, match="has no COMMIT line"):
        ufw_text("*filter\n", "ufw-before-input", True)


def test_sysctl_file_in_a_stable_order() -> None:
    assert sysctl_text({"net.b": "1", "net.a": "0"}) == "# Managed by Ansible (vrrpd).\nnet.a = 0\nnet.b = 1\n"


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    place = tmp_path / "vrrpd.conf"
    place.mkdir()  # os.replace of a file over a folder fails
    with pytest.raises(IsADirectoryError):
        write(str(place), "text", 0o640)
    assert [path.name for path in tmp_path.iterdir()] == ["vrrpd.conf"]
