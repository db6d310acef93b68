"""The keyword table: a keyword is known (it stands there), supported, or tested (a file of ok/ or bad/ says it)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vrrpd.conf.expand import Line, Reader
from vrrpd.conf.source import Problems
from vrrpd.conf.tree import parse
from vrrpd.model.blocks import BLOCKS, TOP

HERE = Path(__file__).parent


def used(path: Path) -> Iterator[tuple[str, str]]:
    """(block, keyword) of a file's statements, whatever their values are worth."""
    problems = Problems(True)
    lines: list[Line] = list(Reader("node1", problems).read_file(str(path)))
    waiting = [(TOP, statement) for statement in parse(lines, problems)]
    while waiting:
        block, statement = waiting.pop()
        row = BLOCKS[block].keywords.get(statement.words[0]) if statement.words else None
        if row is None:
            continue
        yield block, row.name
        if row.type.form == "block":
            waiting += [(row.type.block, inner) for inner in statement.block or ()]


def test_every_supported_keyword_is_in_a_fixture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tested: set[tuple[str, str]] = set()
    for path in sorted(HERE.glob("*/*.conf")):
        monkeypatch.chdir(path.parent)
        tested.update(used(path))
        if "include_check" in path.read_bytes().decode(errors="replace"):
            tested.add(("global_defs", "include_check"))  # obeyed while the file is read, and gone then
    rows = []
    missing = []
    for block in BLOCKS.values():
        known = set(block.keywords)
        supported = {row.name for row in block.keywords.values() if row.supported}
        mine = {name for place, name in tested if place == block.name}
        rows.append((block.name or "top level", len(known), len(supported), len(mine)))
        missing += sorted((block.name, name) for name in supported - mine)
    rows.append(("all", *(sum(row[column] for row in rows) for column in (1, 2, 3))))  # type: ignore[arg-type]
    with capsys.disabled():
        print(f"\n{'keywords of':<24}{'known':>7}{'supported':>11}{'tested':>8}")
        for name, *counts in rows:
            print("{:<24}{:>7}{:>11}{:>8}".format(name, *counts))
    assert missing == []
