"""Values of the keywords that concern the daemon as a process of its machine: files, users, processors, times."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vrrpd.conf.tree import Statement
from vrrpd.conf.types import Invalid

from .scripts import split_owner


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
