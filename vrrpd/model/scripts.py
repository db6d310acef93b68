"""Commands: how a notify line becomes an argument vector with a user, and whether somebody else could change it.

keepalived.conf(5) "SCRIPTS": what root runs must not be writable by others, nor any folder above it. We say which
component is at fault, its mode and owner, and the command that mends it. A user that does not exist and a missing
program are the machine's business, found here too because the reader is the last one that may still refuse.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from vrrpd.conf.lexer import quoted_words
from vrrpd.conf.tree import Statement
from vrrpd.conf.types import Custom, Invalid

FOR_A_SHELL = re.compile(r"\|\|?|&&?|;|[0-9&]?(?:<|>>?)(?:&[0-9-]|\S*)|(?:`|\$\()\S*|[\w./-]+;|\[\[|if|!")
OWN_OPERATORS = ("find", "expr", "test", "[", "awk")  # programs to which such words mean something
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Script:
    """A command of the configuration, already split; `user` "" means script_user or its default."""

    argv: tuple[str, ...]
    user: str = ""
    group: str = ""


def split_command(statement: Statement) -> tuple[str, list[str], list[str]]:
    """The first word as it is written, the argument vector that it holds, the words behind it."""
    try:
        first, *rest = statement.quoted(1)
        argv = quoted_words(first)
    except ValueError as error:
        raise Invalid(str(error)) from None
    if not argv:
        raise Invalid("the command is empty")
    if any("\0" in part for part in argv):
        raise Invalid("a command cannot hold a NUL character")
    return first, argv, rest


def command(statement: Statement) -> Script:
    """`KEYWORD COMMAND [user [group]]`: the command in quotes when it has arguments."""
    first, argv, owner = split_command(statement)
    if len(owner) > 2:
        hint = f'put the command and its arguments in quotes: {statement.words[0]} "{first} {owner[0]} ..."'
        raise Invalid(f"'{owner[2]}' is a third word after the command", 4, hint)
    if owner and not _is_name(owner[0]):
        hint = f'put the command and its arguments in quotes: {statement.words[0]} "{first} {" ".join(owner)}"'
        raise Invalid(f"'{owner[0]}' after the command would be the user to run it, and is not one", 2, hint)
    user, group = split_owner(owner)
    return Script(tuple(argv), user, group)


def optional_command(statement: Statement) -> Script:
    """`notify_deleted [COMMAND [user [group]]]`: alone it only changes the word that the others are told."""
    return command(statement) if len(statement.words) > 1 else Script(())


def split_owner(words: list[str]) -> tuple[str, str]:
    """`USER [GROUP]`, also `USER:GROUP` and `USER :GROUP` (keepalived after 2.4.3)."""
    if not words:
        return "", ""
    user, _, group = words[0].partition(":")
    return user, (words[1].lstrip(":") if len(words) > 1 else group)


def _is_name(word: str) -> bool:
    return not word.startswith(("/", "-", "$")) and " " not in word


def script_type() -> Custom[Script]:
    return Custom(command, "script", 1, 1000)


def program(argv0: str) -> str | None:
    """The path that would be executed, None when there is none."""
    if "/" in argv0:
        return argv0 if os.path.exists(argv0) and not os.path.isdir(argv0) else None
    for folder in SEARCH_PATH.split(":"):
        path = os.path.join(folder, argv0)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def for_a_shell(argv: tuple[str, ...]) -> tuple[str, str] | None:
    """(the first word that only a shell understands, how to call one). No shell reads a command: keepalived does not
    call one either, and pgrep is asked for a process named '||'."""
    if os.path.basename(argv[0]) in OWN_OPERATORS:
        return None
    word = next((w for before, w in zip(("", *argv), argv) if before != "-c" and FOR_A_SHELL.fullmatch(w)), "")
    if not word:
        return None
    line = "..." if any(re.search(r"[\s'\"]", part) for part in argv) else " ".join(argv)
    return word, f"let a shell read it: {'bash' if '[[' in argv else 'sh'} -c '{line}'"


def user_exists(name: str) -> bool:
    """By name or by number, as scripts.account() will ask."""
    try:
        _ = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except (KeyError, ValueError, OverflowError):
        return False
    return True


def group_exists(name: str) -> bool:
    """Of a number nobody asks whether it has a name."""
    try:
        _ = name.isdigit() or grp.getgrnam(name)
    except (KeyError, ValueError):
        return False
    return True


def insecure(path: str) -> tuple[str, str] | None:
    """(what is wrong, how to mend it) for the first component that others than root may write; None if all is well."""
    for component in _components(path):
        try:
            found = os.lstat(component)
        except OSError:
            return None  # absent or hidden from us: it cannot be judged, and will be when it runs
        name = shlex.quote(component)
        if stat.S_ISLNK(found.st_mode):  # its folder and its target decide
            if found.st_uid and _shared(os.path.dirname(component)):
                return f"{component} belongs to {_user(found.st_uid)}, who can turn it", f"chown -h root {name}"
            continue
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        if found.st_uid != 0:
            return f"{component} belongs to {_user(found.st_uid)} (mode {mode})", f"chown root {name}"
        if found.st_mode & stat.S_IWOTH and not (found.st_mode & stat.S_ISVTX and stat.S_ISDIR(found.st_mode)):
            return f"{component} (mode {mode}, owner root) may be written by everybody", f"chmod go-w {name}"
        if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
            return (
                f"{component} (mode {mode}, owner root:{_group(found.st_gid)}) may be written by its group",
                f"chmod g-w {name}",
            )
    return None


def _shared(folder: str) -> bool:
    """Whether several may put things there, each his own (/tmp)."""
    return bool(os.lstat(folder).st_mode & stat.S_ISVTX)


def _components(path: str) -> Iterator[str]:
    """Every folder from / down and the file, and the same of whatever a symbolic link on the way leads to."""
    seen: set[str] = set()
    waiting = [os.path.abspath(path), os.path.realpath(path)]
    while waiting:
        parts = waiting.pop(0).split("/")
        for count in range(1, len(parts) + 1):
            component = "/".join(parts[:count]) or "/"
            if component in seen:
                continue
            seen.add(component)
            yield component
            with contextlib.suppress(OSError):  # EINVAL: no link
                target = os.path.join(os.path.dirname(component), os.readlink(component), *parts[count:])
                waiting.append(os.path.normpath(target))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
