"""The language beside keepalived's own reader: what does a word become after comments, quotes and definitions?

`state` shows it: both programs repeat a value that is neither MASTER nor BACKUP in their message. Differences that
are meant stand in BETTER, with what keepalived 2.2.7 makes of them.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from vrrpd.model.load import load

AGREED = {
    "plain": "state value",
    "comment": "state A # B",
    "comment without a blank": "state A!B",
    "comment sign in quotes": 'state "A # B"',
    "brace in quotes": 'state "A{B"',
    "single quotes are for commands only": "state 'A",
    "no escapes outside commands": r'state "A\\nB"',
    "trailing backslash": "state A\\",
    "semicolon": "state MASTER;",
    "definition": "$X=FOO\nstate $X",
    "bare name needs a blank after it": "$X=FOO\nstate $XBAR",
    "braced name does not": "$X=FOO\nstate ${X}BAR",
    "no bare name before a quote": '$X=FOO BAR\nstate "$X"',
    "braced name in quotes": '$X=FOO BAR\nstate "${X}"',
    "comment after a definition": '$X=FOO  # comment\nstate "${X}|"',
    "blanks around a value": '$X=  foo  \nstate "|${X}|"',
    "empty value": '$X=\nstate "|${X}|"',
    "undefined bare name": "state A$UNDEFINED",
    "defined too late": "state $X\n$X=FOO",
    "substituted when used": "$X=${Y}1\n$Y=2\nstate ${X}",
    "redefined": "$X=${Y}1\n$Y=2\n$Y=3\nstate ${X}",
    "several lines": "$X=\\\nstate A \\\nstate B\n$X",
    "_PWD": "state ${_PWD}",
    "_RANDOM": "state ${_RANDOM 5 5}",
    "_INSTANCE": "state ${_INSTANCE}",
    "sequence": "~SEQ(V,1,3) state A${V}",
    "sequence from 1": "~SEQ(V,3) state A${V}",
    "sequence from -1": "~SEQ(V,-2) state A${V}",
    "sequence downwards": "~SEQ(V,5,1) state A${V}",
    "sequence with a step": "~SEQ(V,1,4,12) state A${V}",
    "hexadecimal": "~SEQx(V,8,12) state A${V}",
    "hexadecimal bounds": "~SEQx(V, 0x90, 0x10, 0xc0) state A${V}",
    "list": "~LST(V,a, b ,c) state A${V}|",
    "sequence of lists": "~SEQ(V,1,2) ~LST({A,B},{x,y},{p,q}) state A${V}${A}${B}",
    "conditions": "@one state A1\n@^one state A2\n@two state A3\n@^two state A4",
    "definition under a condition": "@one $X=1\n@two $X=2\nstate A${X}",
}
BETTER = {
    # source: (keepalived 2.2.7, ours)
    r"state A\#B": (["A"], ["A#B"]),  # later keepalived: \# and \! stand for the character
    "$C=@one\n$D=@two\n$C state A1\n$D state A2": (["Aate"], ["A1"]),  # it copies over itself
    "state ${_HASH}A": ([], ["#A"]),  # keepalived.conf(5) promises the character; the program sees a comment
    "state A${UNDEFINED}B": (["A$"], ["A${UNDEFINED}B"]),  # stays literal, says the man page; the program splits it
}
FILE = """vrrp_instance VI_1 {
interface eth0
virtual_router_id 5
virtual_ipaddress {
192.0.2.1
}
%s
}
"""


def keepalived(path: Path) -> list[str]:
    """What `state` was, as Debian's keepalived tells it; it reads the file once for every process."""
    command = ["keepalived", "-t", "-l", "-i", "one", "-f", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    said = re.findall(r"(Line \d+)\) \(VI_1\) unknown state '(.*)', defaulting", done.stdout + done.stderr)
    return [value for _, value in dict.fromkeys(said)]


def ours(path: Path) -> list[str]:
    loaded = load(str(path), config_id="one")
    found = [re.fullmatch(r"state: '(.*)' is not MASTER or BACKUP", d.message) for d in loaded.diagnostics]
    return [match.group(1) for match in found if match]


@pytest.mark.parametrize("source", AGREED.values(), ids=AGREED)
def test_same_word(source: str, tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text(FILE % source)
    theirs = keepalived(path)
    assert theirs, "keepalived says nothing"
    assert ours(path) == theirs


@pytest.mark.parametrize("source", BETTER)
def test_meant_differences(source: str, tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text(FILE % source)
    assert (keepalived(path), ours(path)) == BETTER[source]


LINES = (
    """
priority 255|priority 256|priority 0100|priority 0x40|priority|state backup|state MASTER more words|virtual_router_id 0
advert_int 2|advert_int 0.5|advert_int 300|advert_int 1.1234567|nopreempt yes|nopreempt|preempt_delay 4.12
preempt_delay 1001|version 4|version 3|unicast_ttl 5|unicast_src_ip 192.0.2.9|mcast_src_ip 192.0.2.9/24
mcast_src_ip 300.1.1.1|mcast_src_ip fe80::1|unicast_peer { 192.0.2.12/24 }|unicast_peer { fe80::12 }|unicast_peer { }
garp_master_delay 0|garp_master_delay 5000|garp_master_repeat 0|garp_master_refresh 86400|garp_lower_prio_repeat 0
down_timer_adverts 0|down_timer_adverts 100|lower_prio_no_advert|lower_prio_no_advert Yes|smtp_alert maybe
smtp_alert off|skip_check_adv_addr maybe|accept|authentication { auth_type PASS|interface lo|prioritty 3|}|foo {
virtual_ipaddress_excluded { 192.0.2.7/33 }|virtual_ipaddress_excluded { fe80::7 }|virtual_ipaddress { fe80::7 }
virtual_ipaddress_excluded { 192.0.2.7 dev }|virtual_ipaddress_excluded { 192.0.2.7 brd + }
virtual_ipaddress_excluded { 192.0.2.7/24 brd + scope link label eth0:7 no_track }
virtual_ipaddress { 192.0.2.7 192.0.2.8 }|virtual_ipaddress_excluded { 192.0.2.7 scope everywhere }
virtual_ipaddress_excluded { 192.0.2.7 no-track }
virtual_ipaddress_excluded { 192.0.2.7 label a-label-that-is-long }|virtual_ipaddress_excluded { fe80::7 brd + }
virtual_ipaddress_excluded { 192.0.2.7/ }|virtual_ipaddress_excluded { 192.0.2.300 }|state "MASTER|{
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


STRICT = [
    "",
    "state MASTER",
    "state BACKUP;priority 255",
    "priority 255",
    "state MASTER;priority 100",
    "preempt_delay 5",
    "accept",
    "no_accept",
    "accept;version 3",
    "garp_lower_prio_repeat 3",
    "garp_lower_prio_repeat 0",
    "garp_lower_prio_delay 2",
    "nopreempt",
    "garp_master_refresh 10",
    "lower_prio_no_advert no",
    "lower_prio_no_advert",
    "higher_prio_send_advert",
    "down_timer_adverts 5",
    "down_timer_adverts 3",
    "use_vmac;vmac_xmit_base",
    "authentication {;auth_type PASS;auth_pass x;}",
    "mcast_src_ip 192.0.2.9",
    "unicast_peer {;192.0.2.12;}",
]


def an_interface() -> str:
    """keepalived refuses interfaces that do not exist or cannot do multicast; we judge neither, so let it have one."""
    flags = {
        path.name: int((path / "flags").read_text(), 16) for path in Path("/sys/class/net").iterdir() if path.is_dir()
    }
    return min(name for name, value in flags.items() if value & 0x1008 == 0x1000)  # IFF_MULTICAST, not IFF_LOOPBACK


@pytest.mark.parametrize("line", LINES)
def test_same_verdict(line: str, tmp_path: Path) -> None:
    """What `keepalived -t` accepts, we accept; what it runs by skipping words, we refuse."""
    path = tmp_path / "a.conf"
    agree(FILE % line, path)


@pytest.mark.parametrize("lines", STRICT)
def test_same_verdict_in_strict_mode(lines: str, tmp_path: Path) -> None:
    agree(FILE % ("strict_mode\n" + lines.replace(";", "\n")), tmp_path / "a.conf")


def agree(text: str, path: Path) -> None:
    path.write_text(text.replace("eth0", an_interface()))
    command = ["keepalived", "-t", "-l", "-f", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    loaded = load(str(path))
    assert (done.returncode == 0) is (loaded.model is not None), done.stdout + done.stderr
