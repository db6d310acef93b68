"""What surrounds the daemon: rivals found by process, the firewall files, replacing a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible.module_utils import vrrpd_host
from ansible.module_utils.vrrpd_host import (
    AH,
    SECOND_PATH,
    VRRP,
    HostError,
    openings,
    rivals,
    sysctl_text,
    ufw_text,
    write,
)

from vrrpd.firewall import IN


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
    opened = ufw_text(before, "ufw-before-input", [VRRP])
    assert opened.splitlines()[2:6] == [
        "# BEGIN vrrpd (managed by Ansible)",
        "-A ufw-before-input -p 112 -j ACCEPT",
        "# END vrrpd (managed by Ansible)",
        "COMMIT",
    ]
    assert ufw_text(opened, "ufw-before-input", [VRRP]) == opened
    assert ufw_text(opened, "ufw-before-input", []) == before
    with pytest.raises(HostError, match="has no COMMIT line"):
        ufw_text("*filter\n", "ufw-before-input", [VRRP])


def test_what_a_configuration_needs_of_the_firewall() -> None:
    assert openings("vrrp_instance A {\n    # peer_path 10.9.0.3\n    unicast_peer {\n") == [VRRP]
    assert openings("    authentication {\n        auth_type AH\n    }\n    peer_path {\n") == [VRRP, AH, SECOND_PATH]
    ah_and_path = ufw_text("COMMIT\n", "ufw-before-input", [AH, SECOND_PATH])
    assert ah_and_path.splitlines()[1:3] == [
        "-A ufw-before-input -p 51 -j ACCEPT",
        "-A ufw-before-input -p udp --dport 11200 -j ACCEPT",
    ]


class Nft:
    """nftables as the toolkit calls it: one input chain of the user's, and the daemon's own."""

    def __init__(self) -> None:
        self.rules: list[tuple[int, str]] = [(4, 'tcp dport 22 accept comment "vrrpd_x"')]
        self.handle = 10

    def __call__(self, command: list[str], text: str | None = None) -> tuple[int, str]:
        if command[:4] == ["nft", "-j", "list", "chains"]:
            base = {"hook": "input", "type": "filter", "family": "inet"}
            theirs, ours = ({**base, "table": table, "name": name} for table, name in (("filter", "input"), ("x", IN)))
            return 0, json.dumps({"nftables": [{"metainfo": {}}, {"chain": theirs}, {"chain": ours}]})
        if command[:4] == ["nft", "-a", "list", "chain"]:
            assert command[4:] == ["inet", "filter", "input"]
            return 0, "".join(f"\t\t{rule} # handle {number}\n" for number, rule in self.rules)
        if command[:3] == ["nft", "insert", "rule"]:
            assert command[3:6] == ["inet", "filter", "input"]
            self.handle += 1
            self.rules.insert(0, (self.handle, " ".join(command[6:])))
        elif command[:3] == ["nft", "delete", "rule"]:
            self.rules = [rule for rule in self.rules if rule[0] != int(command[-1])]
        else:
            raise AssertionError(command)
        return 0, ""

    def ours(self) -> list[str]:
        return sorted(rule for _, rule in self.rules if "22" not in rule)


def test_nftables_gets_what_is_wanted_and_keeps_nothing_else_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    nft = Nft()
    monkeypatch.setattr(vrrpd_host, "run", nft)
    for wanted, expected in (
        ([VRRP], ['meta l4proto 112 accept comment "vrrpd"']),
        (
            [VRRP, SECOND_PATH],
            ['meta l4proto 112 accept comment "vrrpd"', 'udp dport 11200 accept comment "vrrpd_peer_path"'],
        ),
        ([VRRP, AH], ['meta l4proto 112 accept comment "vrrpd"', 'meta l4proto 51 accept comment "vrrpd_ah"']),
        ([], []),
    ):
        for command in vrrpd_host.nft_changes(wanted):
            nft(command)
        assert nft.ours() == expected
        assert vrrpd_host.nft_changes(wanted) == []
    assert vrrpd_host.nft_drop_in([VRRP, SECOND_PATH]).count("insert rule inet filter input") == 4


def test_firewalld_gets_what_is_wanted_and_keeps_nothing_else_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    there: dict[bool, set[str]] = {True: set(), False: {"rule of the user's"}}

    def firewall_cmd(command: list[str], text: str | None = None) -> tuple[int, str]:
        verb, _, rule = command[-1].partition("=")
        rules = there["--permanent" in command]
        if verb.startswith("--query"):
            return int(rule not in rules), ""
        (rules.add if verb.startswith("--add") else rules.remove)(rule)
        return 0, ""

    monkeypatch.setattr(vrrpd_host, "run", firewall_cmd)
    for wanted in ([VRRP], [VRRP, SECOND_PATH], [VRRP, AH], []):
        assert vrrpd_host.firewall_open("firewalld", wanted) is (there[True] == {each.firewalld for each in wanted})
        vrrpd_host.open_firewall("firewalld", wanted)
        assert there[True] == {each.firewalld for each in wanted}
        assert there[False] == {each.firewalld for each in wanted} | {"rule of the user's"}
        assert vrrpd_host.firewall_open("firewalld", wanted)


def test_sysctl_file_in_a_stable_order() -> None:
    assert sysctl_text({"net.b": "1", "net.a": "0"}) == "# Managed by Ansible (vrrpd).\nnet.a = 0\nnet.b = 1\n"


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    place = tmp_path / "vrrpd.conf"
    place.mkdir()  # os.replace of a file over a folder fails
    with pytest.raises(IsADirectoryError):
        write(str(place), "text", 0o640)
    assert [path.name for path in tmp_path.iterdir()] == ["vrrpd.conf"]
