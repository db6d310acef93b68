"""Whatever the text: a Model or diagnostics, never an exception, and a place for each that lies in the text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from reading import judge

from vrrpd.model.blocks import BLOCKS
from vrrpd.model.load import load

WORDS = sorted({name for block in BLOCKS.values() for name in block.keywords})
SYNTAX = ["{", "}", "{", "}", "\n", "\n", "\n", "\n", '"', "'", "\\", " \\\n", "#", "!", "include ", "includea "]
SYNTAX += ["$A", "${A}", "$A=", "$A=\\\n", "@x ", "@^x ", "${_RANDOM 1 2}", "${_ENV HOME}", "${_PWD}", "~LST(A,1,2)"]
SYNTAX += ["~SEQ(A,1,3) ", "~SEQx(A,9,-1,7)", "~LST({A,B},{1,2})", "include_check +match"]
VALUES = ["0", "1", "51", "255", "256", "-1", "0.5", "1e9", "9" * 40, "VI_1", "eth0", "MASTER", "BACKUP", "PASS", "AH"]
VALUES += [
    "192.0.2.1",
    "192.0.2.1/24",
    "fe80::1",
    "fe80::1/64",
    "224.0.0.18",
    "ff02::12",
    "on",
    "no",
    "/bin/true",
    "root",
]
VALUES += ["dev", "brd", "+", "label", "scope", "global", "-nodad", "\0", "\x1b", "\udc80", "\u00fc", "\u2028", *SYNTAX]
PIECES = st.lists(st.sampled_from(WORDS + VALUES * 4) | st.text(max_size=6), max_size=60).map(" ".join)
INSTANCE = "vrrp_instance VI_1 {\ninterface eth0\nvirtual_router_id 51\nvirtual_ipaddress {\n192.0.2.1\n}\n%s\n}\n"


def check(text: str, lenient: bool) -> None:
    judge(load("property.conf", text=text, lenient=lenient, node_name="x", max_lines=2000), "property.conf", text)


@settings(max_examples=300, deadline=None)
@given(PIECES, st.booleans())
def test_any_words(text: str, lenient: bool) -> None:
    check(text, lenient)


@settings(max_examples=300, deadline=None)
@given(PIECES, st.booleans())
def test_any_words_in_an_instance(text: str, lenient: bool) -> None:
    check(INSTANCE % text, lenient)
    check(INSTANCE.replace("51", "52").replace("VI_1", "VI_2") % "" + INSTANCE % text, lenient)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=200), st.booleans())
def test_any_text(text: str, lenient: bool) -> None:
    check(text, lenient)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_of_any_keyword(data: st.DataObject) -> None:
    block = data.draw(st.sampled_from(["global_defs", "vrrp_instance", "authentication"]))
    word = data.draw(st.sampled_from(sorted(BLOCKS[block].keywords)))
    value = data.draw(st.lists(st.sampled_from(VALUES) | st.integers().map(str) | st.floats().map(str), max_size=4))
    line = f"{word} {' '.join(value)}"
    if block == "global_defs":
        check(f"global_defs {{\n{line}\n}}\n{INSTANCE % ''}", data.draw(st.booleans()))
    else:
        check(
            INSTANCE % (f"authentication {{\n{line}\n}}" if block == "authentication" else line),
            data.draw(st.booleans()),
        )
