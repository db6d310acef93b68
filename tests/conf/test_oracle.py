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
