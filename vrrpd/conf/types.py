"""Types of values: what a keyword's words must be, and how the refusal is worded.

A type converts a Statement to a value or raises `Invalid`. `fallback` is what keepalived puts in the place of a bad
value; with --lenient so do we. Every type describes itself (form, type, bounds, choices) for `vrrpd keywords`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from typing import Any, Callable, Generic, TypeVar

from .tree import Statement

T = TypeVar("T")
INTEGER = re.compile(r"[+-]?[0-9]+\Z")
DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.([0-9]*))?|\.([0-9]+))\Z")
TRUE, FALSE = ("on", "true", "yes"), ("off", "false", "no")
MISSING: Any = object()


class Invalid(Exception):
    """A value that does not fit. `index` is the word at fault; `fatal`: keepalived would not start either."""

    def __init__(
        self, message: str, index: int = 1, hint: str = "", fallback: Any = MISSING, fatal: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.index = index
        self.hint = hint
        self.fallback = fallback
        self.fatal = fatal


class Type(Generic[T]):
    """`least` and `most` bound the number of words after the keyword; more are ignored with a warning."""

    form = "value"
    type = "string"
    least: int = 1
    most: int = 1
    minimum: float | None = None
    maximum: float | None = None
    choices: Sequence[str] = ()
    block: str = ""
    named = False  # of a list or a block: words between keyword and brace name it
    alone = False
    public = 0  # so many words of a secret keyword anybody may see

    def convert(self, statement: Statement) -> T:
        raise NotImplementedError


class String(Type[str]):
    def __init__(self, maximum: int | None = None, default: str = "") -> None:
        self.limit = maximum
        self.default = default
        self.least = 1 if not default else 0

    def convert(self, statement: Statement) -> str:
        if len(statement.words) < 2:
            return self.default
        value = statement.words[1]
        if self.limit is not None and len(value) > self.limit:
            raise Invalid(f"'{value}' is longer than {self.limit} characters")
        return value


class InterfaceName(Type[str]):
    type = "interface"

    def convert(self, statement: Statement) -> str:
        return interface_name(statement.words[1])


class Integer(Type[int]):
    type = "integer"

    def __init__(self, minimum: int, maximum: int, fallback: Any = MISSING) -> None:
        self.minimum, self.maximum = minimum, maximum
        self.fallback = fallback

    def convert(self, statement: Statement) -> int:
        word = statement.words[1]
        value = integer(word, self.fallback)
        if not self.minimum <= value <= self.maximum:  # type: ignore[operator]
            raise Invalid(f"{word} is outside {self.minimum}..{self.maximum}", fallback=self.fallback)
        return value


class Seconds(Type[float]):
    """Decimal seconds, microseconds at the finest."""

    type = "seconds"

    def __init__(self, minimum: float, maximum: float, fallback: Any = MISSING, none: str = "") -> None:
        self.minimum, self.maximum = minimum, maximum
        self.fallback = fallback
        self.none = none  # a hint to whoever says 0 for none

    def convert(self, statement: Statement) -> float:
        hint = self.none if not statement.words[1].strip("0.") else ""
        return seconds(statement.words[1], self.minimum or 0.0, self.maximum or 0.0, self.fallback, hint=hint)


class Boolean(Type[bool]):
    """A keyword alone means yes."""

    form = "bool"
    type = "boolean"
    least = 0
    choices = TRUE + FALSE

    def convert(self, statement: Statement) -> bool:
        return len(statement.words) < 2 or boolean(statement.words[1])


class Flag(Type[T]):
    """The keyword's presence means `value`."""

    form = "flag"
    type = "flag"
    least = most = 0

    def __init__(self, value: T) -> None:
        self.value = value

    def convert(self, statement: Statement) -> T:
        return self.value


class Choice(Type[str]):
    type = "choice"

    def __init__(self, *choices: str, fallback: Any = MISSING, alone: str = "") -> None:
        """`alone`: what the keyword means without a word."""
        self.choices = choices
        self.fallback = fallback
        self._without = alone
        self.least = 0 if alone else 1

    def convert(self, statement: Statement) -> str:
        if len(statement.words) < 2:
            return self._without
        word = statement.words[1]
        if word not in self.choices:
            hint = f"keepalived takes it for {self.fallback}: write that" if self.fallback is not MISSING else ""
            hint = f"write it {word.upper()}" if word.upper() in self.choices else hint
            raise Invalid(f"'{word}' is not {' or '.join(self.choices)}", hint=hint, fallback=self.fallback)
        return word


class Address(Type[bytes]):
    """One address, packed. `multicast`: it must be a group (True) or must not (False)."""

    type = "address"

    def __init__(self, family: int = 0, multicast: bool | None = None) -> None:
        self.family = family
        self.multicast = multicast

    def convert(self, statement: Statement) -> bytes:
        word = statement.words[1]
        packed = host(word)
        if self.family and len(packed) != (4 if self.family == socket.AF_INET else 16):
            raise Invalid(f"{word} is not an IPv{4 if self.family == socket.AF_INET else 6} address")
        group = packed[0] >> 4 == 14 if len(packed) == 4 else packed[0] == 0xFF
        if self.multicast is not None and group is not self.multicast:
            raise Invalid(f"{word} is {'a' if group else 'not a'} multicast group")
        return packed


class Custom(Type[T]):
    """A converter function with its description."""

    def __init__(
        self, function: Callable[[Statement], T], type: str, least: int = 1, most: int = 1, public: int = 0
    ) -> None:
        self.function = function
        self.type = type
        self.least, self.most = least, most
        self.public = public

    def convert(self, statement: Statement) -> T:
        return self.function(statement)


class ListOf(Type[tuple[T, ...]]):
    """`keyword { one value a line }`; `items` reads the statement of one line, from word 0 on.

    `alone`: a single value may stand behind the keyword instead.
    """

    form = "list"
    least = most = 0

    def __init__(self, item: Callable[[Statement], T], type: str, alone: bool = False) -> None:
        self._item = item
        self.type = type
        self.alone = alone

    def items(self, statement: Statement) -> Sequence[T]:
        return (self._item(statement),)


class WordList(Type[tuple[str, ...]]):
    """`keyword { word word ... }`: every word is a value, on as many lines as one likes."""

    form = "list"
    type = "strings"
    least = most = 0

    def items(self, statement: Statement) -> Sequence[str]:
        return statement.words


class Nested(Type[Any]):
    """`keyword [name] { keywords }`; the contents are another block's."""

    form = "block"
    type = "block"
    least = most = 0

    def __init__(self, block: str, named: bool = False) -> None:
        self.block = block
        self.named = named
        if named:
            self.least = self.most = 1


class Words(Type[tuple[str, ...]]):
    """Any words: for what is known by name only."""

    least = 0
    most = 1000

    def __init__(self, form: str = "value", type: str = "words", named: bool = False) -> None:
        self.form = form
        self.type = type
        self.named = named

    def convert(self, statement: Statement) -> tuple[str, ...]:
        return tuple(statement.words[1:])


def integer(word: str, fallback: Any = MISSING, index: int = 1) -> int:
    if not INTEGER.match(word) or len(word) > 20:
        hint = "whole numbers are decimal here" if word[:2] in ("0x", "0X") else _undefined(word) or _netmask(word)
        raise Invalid(f"'{word}' is not a whole number", index, hint, fallback)
    return int(word)


def prefix_length(word: str, bits: int, index: int, fallback: Any = MISSING) -> int:
    """What stands behind the slash of an address of so many bits."""
    if not INTEGER.match(word) or len(word) > 20:
        hint = _undefined(word) or _netmask(word)
        raise Invalid(f"the prefix length '{word}' is not a whole number", index, hint, fallback)
    if not 0 <= int(word) <= bits:
        raise Invalid(f"the prefix length {word} is outside 0..{bits}", index, fallback=fallback)
    return int(word)


def seconds(
    word: str, minimum: float, maximum: float, fallback: Any = MISSING, index: int = 1, hint: str = ""
) -> float:
    match = DECIMAL.match(word)
    if not match or len(word) > 30:
        raise Invalid(f"'{word}' is not a number of seconds", index, _undefined(word) or _without_unit(word), fallback)
    value = float(word)
    if len(match.group(1) or match.group(2) or "") > 6:
        raise Invalid(f"{word} has more than 6 decimal places", index, "microseconds are the finest", round(value, 6))
    if not minimum <= value <= maximum:
        raise Invalid(f"{word} is outside {plain(minimum)}..{plain(maximum)}", index, hint, fallback)
    return value


def plain(number: float) -> str:
    """A bound as a person would write it."""
    return str(int(number)) if number == int(number) else f"{number:.6f}".rstrip("0")


def boolean(word: str, index: int = 1) -> bool:
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    hint = f"write it {word.lower()}" if word.lower() in TRUE + FALSE else f"one of {', '.join(TRUE + FALSE)}"
    raise Invalid(f"'{word}' is neither yes nor no", index, hint)


def host(word: str, index: int = 1) -> bytes:
    """A packed address; a prefix length after it is overlooked, as keepalived does where one makes no sense."""
    return address(re.sub(r"/[0-9]+\Z", "", word), index)


def address(word: str, index: int = 1) -> bytes:
    """A packed IPv4 or IPv6 address."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in word else socket.AF_INET, word)
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate inside
        raise Invalid(f"'{word}' is not an IP address", index, _undefined(word) or _no_address(word)) from None


def interface_name(word: str, index: int = 1) -> str:
    # linux/if.h IFNAMSIZ, net/core/dev.c dev_valid_name()
    if len(word.encode("utf-8", "surrogateescape")) > 15:
        raise Invalid(f"'{word}' is longer than 15 characters, the longest interface name", index)
    if word in (".", "..") or not re.fullmatch(r"[^\s/:]+", word) or _undefined(word):
        alias = f"a label such as {word} is given to an address; the interface is {word.partition(':')[0]}"
        hint = _undefined(word) or (alias if re.fullmatch(r"[^\s/:]+:[^\s/:]+", word) else "")
        raise Invalid(f"'{word}' cannot be an interface name", index, hint)
    return word


def _undefined(word: str) -> str:
    match = re.search(r"\$(\{?)([A-Za-z_]\w*)", word)
    if not match:
        return ""
    braced, name = match.groups()
    return f"${name} is not defined above this line" + (
        "" if braced else f", or needs braces before what follows: ${{{name}}}"
    )


def _without_unit(word: str) -> str:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)(us|ms|s|sec|secs|m|min|h)", word.lower())
    if not match:
        return ""
    factor = {"us": 1e-6, "ms": 1e-3, "m": 60.0, "min": 60.0, "h": 3600.0}.get(match.group(2), 1.0)
    return f"seconds without a unit: {plain(round(float(match.group(1)) * factor, 6))}"


def _netmask(word: str) -> str:
    """For 255.255.255.0 where a length is expected."""
    try:
        bits = f"{int.from_bytes(socket.inet_pton(socket.AF_INET, word), 'big'):032b}"
    except (OSError, ValueError):
        return ""
    return f"a mask is written as its length: /{bits.count('1')}" if "01" not in bits else ""


def _no_address(word: str) -> str:
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+){3}", word):
        return "each of the four numbers is 0..255, without leading zeros"
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+){0,2}", word):
        return "an IPv4 address has four numbers"
    if re.fullmatch(r"(?:[A-Za-z0-9-]+\.)*[A-Za-z][A-Za-z0-9-]*", word):
        return "names are not looked up: write the address"
    return ""
