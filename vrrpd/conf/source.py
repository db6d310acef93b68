"""Where a word stands, and what is said about it.

`Source` is one text that was read (a file, with the chain of includes that led to it). `Place` is a span in
one line of it. `Problems` collects every Diagnostic of a run; nothing here stops at the first one. Severities:
`error` (the file is refused), `warning` (it runs), `security` (a script that others may write). An error that
keepalived survives by skipping or replacing a value is reported with `survivable`: --lenient makes it a warning.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .slips import slip


class Source:
    """One text of the configuration. `via` is the place of the include line, None for the main file."""

    __slots__ = ("directory", "lines", "order", "path", "via")

    def __init__(self, path: str, directory: str, lines: list[str], order: int, via: Place | None = None) -> None:
        self.path = path
        self.directory = directory
        self.lines = lines
        self.order = order
        self.via = via

    def text(self, line: int) -> str:
        return self.lines[line - 1] if 0 < line <= len(self.lines) else ""


class Place(NamedTuple):
    """`length` columns from `column` of `line`, both counted from 1. `used` is the line that expanded a $definition."""

    source: Source
    line: int
    column: int = 1
    length: int = 1
    used: Place | None = None


class Diagnostic(NamedTuple):
    """One finding. `via` says how the line was reached, outermost last: includes and $definitions."""

    severity: str
    file: str
    line: int
    column: int
    length: int
    message: str
    hint: str = ""
    source_line: str = ""
    via: tuple[str, ...] = ()

    def render(self) -> str:
        """The finding for people: place and message, source line, caret, hint."""
        text = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "
        text += f"{self.severity}: {self.message}\n"
        if self.source_line.strip():
            blank = "".join(c if c == "\t" else " " for c in self.source_line[: self.column - 1])
            text += f"    {printable(self.source_line)}\n    {blank}{'^' * max(1, self.length)}\n"
        for step in self.via:
            text += f"    {step}\n"
        if self.hint:
            text += f"    hint: {self.hint}\n"
        return text

    def as_dict(self) -> dict[str, object]:
        return {**self._asdict(), "via": list(self.via)}


def printable(text: str) -> str:
    """The text without characters that a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


# What may hold a secret, whatever else is wrong with its line: auth_pass and peer_path_key with their misspellings,
# keys of auth_hmac
SECRET = re.compile(
    r"(\bauth[_-]?pa\w*|\bpeer[_-]?path[_-]?k\w*|\bpassword|(?:^|[\s{}])key|\bhex(?=:))\b[\s=:]*(.*)$", re.IGNORECASE
)
DEFINED = re.compile(r"^\s*(?:@\S*\s+)?\$\w+=(.*)$")
MASK = "********"


class Problems:
    """Every finding so far. Values given to `mask` appear in no source line, nor does what follows `auth_pass`."""

    def __init__(self, lenient: bool = False) -> None:
        self.lenient = lenient
        self.fatal = False  # refused even with --lenient
        self._secrets: set[str] = set()
        self._found: list[tuple[str, Place, str, str]] = []

    def mask(self, secret: str) -> None:
        """Never show this, should a definition hold it."""
        if secret:
            self._secrets.add(secret)

    def error(self, place: Place, message: str, hint: str = "") -> None:
        """A finding with which nothing can run."""
        self.fatal = True
        self._found.append(("error", place, message, hint))

    def survivable(self, place: Place, message: str, hint: str = "") -> None:
        """A finding that keepalived answers by skipping: an error, and a warning with --lenient."""
        self._found.append(("warning" if self.lenient else "error", place, message, hint))

    def warning(self, place: Place, message: str, hint: str = "") -> None:
        self._found.append(("warning", place, message, hint))

    def security(self, place: Place, message: str, hint: str = "") -> None:
        """A script that others than its user may change."""
        self._found.append(("warning" if self.lenient else "security", place, message, hint))

    @property
    def refused(self) -> bool:
        return any(severity != "warning" for severity, *_ in self._found)

    def diagnostics(self) -> list[Diagnostic]:
        """All findings, sorted by place, each once."""
        found = sorted(self._found, key=lambda f: (f[1].source.order, f[1].line, f[1].column))
        return list(dict.fromkeys(self._diagnostic(*f) for f in found))

    def _diagnostic(self, severity: str, place: Place, message: str, hint: str) -> Diagnostic:
        text = place.source.text(place.line)
        column, length = place.column, place.length
        hint = slip(text[column - 1 : column - 1 + length], text) or hint
        masked = SECRET.search(text) or (DEFINED.match(text) if self._holds_secret(text) else None)
        start = -1
        if masked and masked.group(masked.lastindex or 0).strip(" \t{}"):
            start = masked.start(masked.lastindex or 0)
        elif not masked:  # a short one may be any word
            start = min(
                (text.find(secret) for secret in self._secrets if len(secret) >= 16 and secret in text), default=-1
            )
        if start >= 0:
            text = text[:start] + MASK
            if column > start:
                column, length = start + 1, len(MASK)
        length = min(length, max(1, len(text) - column + 1))
        return Diagnostic(
            severity,
            place.source.path,
            place.line,
            column,
            length,
            printable(message),
            printable(hint),
            text,
            _via(place),
        )

    def _holds_secret(self, text: str) -> bool:
        return any(secret in text for secret in self._secrets)


def _via(place: Place) -> tuple[str, ...]:
    steps = []
    used = place.used
    while used is not None:
        steps.append(f"expanded from {used.source.path}:{used.line}")
        used = used.used
    include = place.source.via
    while include is not None:
        steps.append(f"included from {include.source.path}:{include.line}")
        include = include.source.via
    return tuple(steps)
