"""Words. keepalived has two ways to split a line, and so have we.

`words()` is for nearly everything: blanks separate, `"..."` keeps blanks, an unquoted brace is a word of its
own, `${NAME}` (a definition that nobody made) stays in its word. `quoted_words()` is for commands: both quotes,
adjacent pieces join, the escapes of keepalived.conf(5) "Quoted strings".
"""

from __future__ import annotations

import re
from typing import NamedTuple

# What separates words: the blanks of ASCII, as str.split() knows them. No other one of Unicode, nor for keepalived.
BLANKS = " \t\n\r\f\v\x1c\x1d\x1e\x1f"
WORD = re.compile(
    rf'"(?P<quoted>[^"]*)"|(?P<plain>(?:\$\{{[^{BLANKS}"{{}}]*\}}|[^{BLANKS}"{{}}])+)|(?P<brace>[{{}}])|(?P<open>")'
)


class Word(NamedTuple):
    """One word and its offsets in the line, quotes included. kind: quoted, plain, brace or open."""

    text: str
    start: int
    end: int
    kind: str


def words(text: str) -> list[Word]:
    """The words of a line. A quote without its partner gives a last word of kind `open`."""
    found = []
    for match in WORD.finditer(text):
        kind = match.lastgroup or ""
        if kind == "open":
            found.append(Word(text[match.end() :], match.start(), len(text), kind))
            break
        found.append(Word(match.group(kind), match.start(), match.end(), kind))
    return found


def without_comment(text: str) -> str:
    """The line up to the first `#` or `!` outside double quotes; `\\#` and `\\!` stand for the character itself."""
    if "#" not in text and "!" not in text:
        return text
    kept, quoted, i = [], False, 0
    while i < len(text):
        char = text[i]
        if char == "\\" and not quoted and text[i + 1 : i + 2] in ("#", "!") and text[i + 1 : i + 2]:
            kept.append(text[i + 1])
            i += 2
            continue
        if char == '"':
            quoted = not quoted
        elif char in "#!" and not quoted:
            break
        kept.append(char)
        i += 1
    return "".join(kept)


SIMPLE_ESCAPES = {"a": "\a", "b": "\b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|c(.)|(.))", re.DOTALL)


def _unescape(match: re.Match[str]) -> str:
    octal, hexadecimal, control, other = match.groups()
    if octal:
        return chr(int(octal, 8) & 0xFF)
    if hexadecimal:
        return chr(int(hexadecimal, 16))
    if control:
        return chr(ord(control) & 0x1F)
    return SIMPLE_ESCAPES.get(other, other)


def quoted_words(text: str) -> list[str]:
    """The words of a command. Raises ValueError when a quote is not closed."""
    found: list[str] = []
    piece: list[str] = []
    inside, started, i = "", False, 0
    while i < len(text):
        char = text[i]
        if char == "\\":
            match = ESCAPE.match(text, i)
            piece.append(_unescape(match) if match else "\\")
            started = True
            i = match.end() if match else i + 1
            continue
        if inside:
            if char == inside:
                inside = ""
            else:
                piece.append(char)
        elif char in "\"'":
            inside, started = char, True
        elif char in BLANKS:
            if started:
                found.append("".join(piece))
            piece, started = [], False
        else:
            piece.append(char)
            started = True
        i += 1
    if inside:
        raise ValueError(f"the quote {inside} is not closed")
    if started:
        found.append("".join(piece))
    return found
