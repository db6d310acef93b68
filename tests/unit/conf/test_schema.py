"""conf/schema.py: which of several occurrences of a keyword counts."""

from __future__ import annotations

from dataclasses import dataclass

from vrrpd.conf.expand import Line, Reader
from vrrpd.conf.schema import EACH, FIRST, Binder, Block, Bound, kw
from vrrpd.conf.source import Problems, Source
from vrrpd.conf.tree import Statement, parse
from vrrpd.conf.types import String


@dataclass(frozen=True)
class _Shape:
    one: str = kw(String(), "", "the last counts")
    other: str = kw(String(), "", "the first counts", repeated=FIRST)
    key: tuple[str, ...] = kw(String(), (), "every one counts", repeated=EACH)  # type: ignore[arg-type]


def bound(text: str) -> tuple[Bound, list[tuple[str, str]]]:
    problems = Problems()
    file = Statement(Line(Source("a.conf", "", [], 0), 0, ""), [""])
    file.block = parse(Reader("node1", problems).read_bytes("a.conf", text.encode()), problems)
    found = Binder({}, problems).bind(Block("test", "a block", _Shape), file)
    return found, [(d.severity, d.message) for d in problems.diagnostics()]


def test_the_last_the_first_and_every_one() -> None:
    found, said = bound("one a\none b\nother a\nother b\nkey a\nkey b\n")
    assert found.values == {"one": "b", "other": "a", "key": ["a", "b"]}
    assert [item.words for item in found.items["key"]] == [["key", "a"], ["key", "b"]]
    assert said == [
        ("warning", "'one' replaces the one in line 1"),
        ("error", "'other' is already given in line 3, which counts"),
    ]
