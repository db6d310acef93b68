"""Values of the keywords that concern the daemon as a process of its machine: files, users, processors, times."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass

from vrrpd.conf.tree import Statement
from vrrpd.conf.types import Invalid, integer

from .scripts import split_owner

MOST_PROCESSORS = 1024  # sched_setaffinity(2)
RELOAD_FILE = "/run/vrrpd/keepalived.reload"
BITS = {f"I{kind}{who}": getattr(stat, f"S_I{kind}{who}") for who in ("USR", "GRP", "OTH") for kind in ("R", "W", "X")}


@dataclass(frozen=True)
class Fifo:
    """A named pipe for lines about transitions; `user` "" means script_user or its default."""

    path: str
    user: str = ""
    group: str = ""


def fifo(statement: Statement) -> Fifo:
    """`PATH [user [group]]`"""
    user, group = split_owner(statement.words[2:])
    return Fifo(path(statement), user, group)


def path(statement: Statement) -> str:
    """Absolute: what a daemon's working directory is, nobody knows."""
    word = statement.words[1]
    if not os.path.isabs(word):
        raise Invalid(f"'{word}' is not an absolute path", hint="it starts with /")
    return word


def processors(statement: Statement) -> tuple[int, ...]:
    """Numbers as in /proc/cpuinfo, each once."""
    numbers = [integer(word, index=index) for index, word in enumerate(statement.words[1:], 1)]
    for index, number in enumerate(numbers, 1):
        if not 0 <= number < MOST_PROCESSORS:
            raise Invalid(f"{number} is outside 0..{MOST_PROCESSORS - 1}", index)
    return tuple(dict.fromkeys(numbers))


def umask(statement: Statement) -> int:
    """A number as C writes it, or names of bits: IWGRP|IWOTH, also with blanks around the bar."""
    words = [word.strip() for word in " ".join(statement.words[1:]).split("|")]
    if len(words) == 1 and words[0][:1].isdigit():
        try:
            value = int(words[0], 8) if words[0][0] == "0" and words[0][1:2] not in ("x", "X") else int(words[0], 0)
        except ValueError:
            raise Invalid(f"'{words[0]}' is not a number", hint="octal with a leading 0, as in umask(2)") from None
        if value > 0o777:
            raise Invalid(f"{words[0]} is outside 0..0777", hint="octal has a leading 0")
        return value
    mask = 0
    for word in words:
        bit = BITS.get(word)
        if bit is None:
            raise Invalid(f"'{word}' is no bit of a mode", hint=f"they are {', '.join(BITS)}, with | between two")
        mask |= bit
    return mask


def name(statement: Statement) -> str:
    """A part of file names."""
    word = statement.words[1]
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:@+-]*", word) or len(word) > 64:
        raise Invalid(f"'{word}' cannot be part of a file name", hint="letters, digits and _ . : @ + -, at most 64")
    return word


def process_name(statement: Statement) -> str:
    """What ps shows: the kernel keeps 15 bytes."""
    word = statement.words[1]
    if len(word.encode("utf-8", "surrogateescape")) > 15:
        raise Invalid(f"'{word}' is longer than 15 bytes, the longest name of a process")
    return word


def log_file(statement: Statement) -> str:
    """`reload_check_config [LOG]`"""
    return path(statement) if len(statement.words) > 1 else ""


def reload_file(statement: Statement) -> str:
    return path(statement) if len(statement.words) > 1 else RELOAD_FILE


def auto_priority(statement: Statement) -> int:
    """-1..99; alone it is the highest."""
    value = integer(statement.words[1]) if len(statement.words) > 1 else 99
    if not -1 <= value <= 99:
        raise Invalid(f"{value} is outside -1..99")
    return value
