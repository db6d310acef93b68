"""Statements: the words of a line and, where braces follow, the statements inside.

A brace may stand on the line of its keyword or alone on the next, and `keyword { value }` may stand on one line.
Missing and extra braces are reported where they are, and reading goes on.
"""

from __future__ import annotations

from collections.abc import Iterable

from .expand import Line
from .lexer import BLANKS, quoted_words, words
from .source import Place, Problems


class Statement:
    """`words[0]` is the keyword (or a value, inside a list). `block` is None without braces. Columns on demand."""

    __slots__ = ("block", "broken", "first", "line", "words")

    def __init__(self, line: Line, words: list[str], first: int = 0) -> None:
        self.line = line
        self.words = words
        self.first = first
        self.block: list[Statement] | None = None
        self.broken = False  # an open quote, reported already

    def with_block(self) -> Statement:
        """`keyword value` as if it were `keyword { value }`."""
        outer = Statement(self.line, self.words[:1], self.first)
        outer.block = [Statement(self.line, self.words[1:], self.first + 1)]
        outer.broken = self.broken
        return outer

    @property
    def margin(self) -> int:
        """How far its line is indented."""
        text = self.line.text.expandtabs()
        return len(text) - len(text.lstrip())

    def place(self, index: int = 0) -> Place:
        """Where word `index` stands; beyond the last word: just after it."""
        found = [w for w in words(self.line.text)][self.first :]
        if index < len(self.words) and index < len(found):
            return self.line.place(found[index].start, found[index].end)
        last = found[min(len(self.words), len(found)) - 1]
        place = self.line.place(last.start, last.end)
        return place._replace(column=place.column + place.length, length=1)

    def span(self) -> Place:
        """From the first word to the last."""
        first, last = self.place(0), self.place(len(self.words) - 1)
        return first._replace(length=max(first.length, last.column + last.length - first.column))

    def quoted(self, index: int) -> list[str]:
        """The words from `index` on by the rules for commands. Raises ValueError for an open quote."""
        found = words(self.line.text)[self.first : self.first + len(self.words)]
        return quoted_words(self.line.text[found[index].start : found[-1].end]) if index < len(found) else []


def parse(lines: Iterable[Line], problems: Problems) -> list[Statement]:
    """The statements of a configuration."""
    root: list[Statement] = []
    current = root
    stack: list[tuple[list[Statement], Statement]] = []
    opening: Statement | None = None  # the statement that a '{' would belong to
    for line in lines:
        text = line.text.strip(BLANKS)
        if not text:
            continue
        # The lines that nearly all of a long file is made of, `word ...`, `word ... {` and `}`, at a fifth of the cost.
        # (str.split() takes more for a blank than the language does, but not within ASCII.)
        if '"' not in text and "{" not in text[:-1] and ("}" not in text or text == "}") and text.isascii():
            if text == "}" and stack:
                current, _ = stack.pop()
                opening = None
                continue
            if text[-1] not in "{}":
                opening = Statement(line, text.split())
                current.append(opening)
                continue
            if text[-1] == "{" and text != "{":
                statement = Statement(line, text[:-1].split())
                current.append(statement)
                stack.append((current, statement))
                current = statement.block = []
                opening = None
                continue
        found = words(line.text)
        start = 0
        for index in range(len(found) + 1):
            word = found[index] if index < len(found) else None
            if word is not None and word.kind == "open":
                problems.survivable(line.place(word.start, word.end), "the quote is not closed")
            if word is not None and word.kind != "brace":
                continue
            if index > start:
                opening = Statement(line, [w.text for w in found[start:index]], start)
                opening.broken = found[index - 1].kind == "open"
                current.append(opening)
            start = index + 1
            if word is None:
                break
            place = line.place(word.start, word.end)
            if word.text == "{":
                if opening is None or opening.block is not None:
                    problems.survivable(place, "'{' follows no keyword")
                    opening = Statement(line, ["{"], index)  # its contents are dropped with it
                opening.block = []
                stack.append((current, opening))
                current = opening.block
            elif stack:
                current, _ = stack.pop()
            else:
                problems.survivable(
                    place, "'}' closes nothing", "no block is open here: remove it, or look for a '{' lost above"
                )
            opening = None
    blamed: set[int] = set()
    for _, statement in reversed(stack):
        block, before = _lost(statement) or (statement, None)
        if id(block) in blamed:
            block, before = statement, None
        blamed.add(id(block))
        hint = f"a '}}' is missing before line {before.line.number}" if before else "a '}' is missing after it"
        problems.survivable(block.span(), f"the block of '{block.words[0]}' is never closed", hint)
    return root


def _lost(unclosed: Statement, levels: int = 8) -> tuple[Statement, Statement] | None:
    """Whose '}' it probably is that is missing, by the indentation: the first block of which a line, and it is this
    line that follows, stands no deeper than the block itself, after others that did."""
    margin, deeper = unclosed.margin, False
    for inner in unclosed.block or ():
        if inner.first:
            continue
        if deeper and inner.margin <= margin:
            return unclosed, inner
        deeper = deeper or inner.margin > margin
        found = _lost(inner, levels - 1) if levels else None
        if found:
            return found
    return None
