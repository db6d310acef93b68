"""conf/source.py: places, and what a diagnostic never shows. tests/conf/bad has the rest as golden files."""

from __future__ import annotations

import gc

from vrrpd.conf.expand import Line
from vrrpd.conf.source import Diagnostic, Place, Problems, Source
from vrrpd.conf.tree import Statement
from vrrpd.model.load import load


def shown(text: str, secret: str = "", column: int = 1, length: int = 1) -> Diagnostic:
    problems = Problems()
    problems.mask(secret)
    problems.warning(Place(Source("a.conf", "/", [text], 1), 1, column, length), "message")
    (diagnostic,) = problems.diagnostics()
    return diagnostic


def test_password_is_masked() -> None:
    diagnostic = shown("    auth_pass hush", column=15, length=4)
    assert (diagnostic.source_line, diagnostic.column, diagnostic.length) == ("    auth_pass ********", 15, 8)


def test_password_in_a_definition_is_masked() -> None:
    assert shown("$PW=hush", "hush").source_line == "$PW=********"
    assert shown("$IF=eth0", "hush").source_line == "$IF=eth0"


def test_keyword_alone_has_nothing_to_mask() -> None:
    assert shown("auth_pass").source_line == "auth_pass"


def test_keys_of_hmac_are_masked() -> None:
    assert shown("    key 1 hex:0011").source_line == "    key ********"


def test_length_of_a_secret_does_not_show() -> None:
    assert shown("auth_pass a").source_line == shown("auth_pass abcdefgh").source_line


def test_caret_stands_under_tabs() -> None:
    rendered = shown("\tpriority 300", column=11, length=3).render()
    assert rendered.splitlines()[1:] == ["    \tpriority 300", "    \t         ^^^"]


def test_order_is_that_of_the_text() -> None:
    first, second = Source("a", "/", [""] * 9, 1), Source("b", "/", [""] * 9, 2)
    problems = Problems()
    for place in (Place(second, 1), Place(first, 3), Place(first, 2, 5), Place(first, 2, 4)):
        problems.warning(place, "message")
    assert [(d.file, d.line, d.column) for d in problems.diagnostics()] == [
        ("a", 2, 4),
        ("a", 2, 5),
        ("a", 3, 1),
        ("b", 1, 1),
    ]


def test_the_parse_tree_does_not_outlive_load() -> None:
    loaded = load("a.conf", text="vrrp_instance VI_1 {\n    prioritty 3\n}\n" * 50)
    assert len(loaded.diagnostics) >= 50
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, (Statement, Line, Source))]
