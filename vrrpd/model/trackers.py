"""What instances track: the definitions (vrrp_script, track_file, vrrp_track_process) and the lines that name them.

In: bound blocks. Out: definitions that somebody uses, and for each instance its `Track`s, with the weight that counts.
Definitions may stand behind their use. What is run, watched and counted from them is vrrpd/trackers.py's, what
follows for an instance vrrp/track.py's.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, cast

from vrrpd.conf.schema import Bound, kw
from vrrpd.conf.source import Place, Problems
from vrrpd.conf.tree import Statement
from vrrpd.conf.types import Choice, Custom, Flag, Integer, Invalid, ListOf, Seconds, String, integer, interface_name

from .scripts import Script, split_command, split_owner
from .values import FILE, INTERFACE, PROCESS, SCRIPT, Track

if TYPE_CHECKING:
    from vrrpd.conf.types import Type

LONGEST = 4294.0  # seconds: keepalived counts microseconds in 32 bits
MOST = {INTERFACE: 253, SCRIPT: 253, FILE: 254, PROCESS: 254}  # weights are -MOST..MOST
OWNER = 255
SHELL = "/bin/sh"


class Weight(NamedTuple):
    value: int
    reverse: bool = False


class Line(NamedTuple):
    """`NAME [weight W [reverse|noreverse]]`; what is not said is the definition's."""

    name: str
    weight: int | None = None
    reverse: bool | None = None


def line(kind: str) -> Callable[[Statement], Line]:
    def read(statement: Statement) -> Line:
        words = statement.words
        name = interface_name(words[0], 0) if kind == INTERFACE else words[0]
        if len(words) == 1:
            return Line(name)
        if words[1] != "weight":
            raise Invalid(f"'{words[1]}' is not 'weight'", 1, "one name a line", Line(name))
        if len(words) == 2:
            raise Invalid("'weight' needs a value", 2, fallback=Line(name))
        value = _weight(words[2], MOST[kind], 2, Line(name))
        reverse = _reverse(words, 3, Line(name, value))
        return Line(name, value, reverse)

    return read


def lines(kind: str) -> ListOf[Line]:
    return ListOf(line(kind), "trackers")


def _weight(word: str, most: int, index: int, fallback: Any) -> int:
    value = integer(word, fallback, index)
    if not -most <= value <= most:
        raise Invalid(f"the weight {word} is outside -{most}..{most}", index, fallback=fallback)
    return value


def _reverse(words: list[str], index: int, fallback: Any) -> bool | None:
    if len(words) <= index:
        return None
    if words[index] not in ("reverse", "noreverse", "no_reverse"):
        raise Invalid(f"'{words[index]}' is neither reverse nor noreverse", index, fallback=fallback)
    return words[index] == "reverse"


def weight(kind: str, default: int) -> Type[Weight]:
    """`weight W [reverse]`"""

    def read(statement: Statement) -> Weight:
        value = _weight(statement.words[1], MOST[kind], 1, Weight(default))
        return Weight(value, bool(_reverse(statement.words, 2, Weight(value))))

    found = Custom(read, "weight", 1, 2)
    found.minimum, found.maximum = -MOST[kind], MOST[kind]
    return found


def check(statement: Statement) -> Script:
    """`script COMMAND`: in quotes when it has arguments; `</path` asks whether a shell can open it."""
    first, argv, more = split_command(statement)
    if first.startswith("<"):
        argv = [SHELL, "-c", first]
    if more:
        hint = f'put the command and its arguments in quotes: script "{first} {" ".join(more)}"'
        raise Invalid(f"'{more[0]}' after the command would be left out", 2, hint, Script(tuple(argv)))
    return Script(tuple(argv))


def init_file(statement: Statement) -> tuple[int, bool]:
    """`init_file [VALUE] [overwrite]`"""
    value, overwrite = 0, False
    for index, word in enumerate(statement.words[1:], 1):
        if word == "overwrite":
            overwrite = True
        else:
            value = integer(word, index=index)
    return value, overwrite


def command_line(statement: Statement) -> tuple[str, ...]:
    try:
        return tuple(statement.quoted(1))
    except ValueError as error:
        raise Invalid(str(error)) from None


def path(statement: Statement) -> str:
    name = String().convert(statement)
    if not name.startswith("/"):
        raise Invalid(f"'{name}' is no absolute path", hint="the daemon runs in /", fallback=f"/{name}")
    return name


@dataclass(frozen=True)
class VrrpScript:
    """A check that runs at intervals while some instance tracks it. Times in seconds."""

    name: str
    script: Script = kw(
        Custom(check, "script", 1, 1000), cast(Script, None), "exit status 0 is good; `</path`: can be opened"
    )
    interval: float = kw(
        Seconds(0.001, LONGEST, fallback=1.0), 1.0, "from start to start; a slow run is left out", unit="s"
    )
    timeout: float = kw(
        Seconds(0.001, LONGEST, fallback=0.0), 0.0, "a longer run is ended and has failed; the interval", unit="s"
    )
    weight: Weight = kw(weight(SCRIPT, 0), Weight(0), "added while it is good, or (negative) taken off; 0: FAULT")
    rise: int = kw(Integer(1, 2**31 - 1, fallback=1), 1, "successes in a row until it is good again")
    fall: int = kw(Integer(1, 2**31 - 1, fallback=1), 1, "failures in a row until it is not")
    user: tuple[str, str] = kw(
        Custom(lambda statement: split_owner(statement.words[1:]), "user", 1, 2),
        ("", ""),
        "user and group; script_user",
    )
    init_fail: bool = kw(Flag(True), False, "accepted: the first result counts, as in keepalived")


@dataclass(frozen=True)
class TrackFile:
    """A file whose number counts."""

    name: str
    file: str = kw(Custom(path, "path"), "", "read whenever it changes; 0 when it does not exist")
    weight: Weight = kw(weight(FILE, 1), Weight(1), "the number is multiplied by it; 0: any number but 0 is FAULT")
    init_file: tuple[int, bool] | None = kw(
        Custom(init_file, "words", 0, 2), None, "make it at the start with this number: [VALUE] [overwrite]"
    )


@dataclass(frozen=True)
class TrackProcess:
    """Processes that must run. Times in seconds."""

    name: str
    process: tuple[str, ...] = kw(
        Custom(command_line, "arguments", 1, 1000), (), "its name, or its command line where arguments are given"
    )
    param_match: str = kw(
        Choice("initial", "partial", alone="exact"),
        "",
        "partial: the first arguments are these; initial: the last one begins so; alone: these, or none",
    )
    weight: Weight = kw(weight(PROCESS, 0), Weight(0), "added with the quorum, or (negative) taken off; 0: FAULT")
    quorum: int = kw(Integer(1, 65535), 1, "as many must run")
    quorum_max: int = kw(Integer(0, 65535), 65535, "more must not")
    fork_delay: float = kw(Seconds(0.000001, 3600), 0.0, "until a quorum that is there counts", unit="s")
    terminate_delay: float = kw(Seconds(0.000001, 3600), 0.0, "until one that is lost counts", unit="s")
    delay: float = kw(Seconds(0.000001, 3600), 0.0, "fork_delay and terminate_delay", unit="s")
    full_command: bool = kw(Flag(True), False, "compare with the command line, not with the process's name")


class Definitions:
    """All of a file, and who uses which; the lines of every instance (and group) come by here."""

    def __init__(self, top: Bound, problems: Problems) -> None:
        self._problems = problems
        self._used: set[tuple[str, str]] = set()
        self._bounds: dict[tuple[str, str], Bound] = {}
        self._found: dict[str, dict[str, Any]] = {
            SCRIPT: {bound.name: bound for bound in self._defined(SCRIPT, "vrrp_script", "script", top)},
            FILE: {bound.name: bound for bound in self._defined(FILE, "track_file", "file", top)},
            PROCESS: {bound.name: bound for bound in self._defined(PROCESS, "vrrp_track_process", "process", top)},
        }
        for kind, build in ((SCRIPT, self._script), (FILE, self._file), (PROCESS, self._process)):
            self._found[kind] = {name: build(bound) for name, bound in self._found[kind].items()}

    def _defined(self, kind: str, block: str, needed: str, top: Bound) -> Iterator[Bound]:
        for bound in top.values.get(block, ()):
            before = self._bounds.get((kind, bound.name))
            if before is not None:
                line = before.statement.line.number
                message = f"{block} {bound.name} is already defined in line {line}"
                self._problems.survivable(bound.statement.place(1), message, "this block would be skipped")
                continue
            self._bounds[kind, bound.name] = bound
            if needed in bound.values:
                yield bound
            elif needed not in bound.tried:
                message = f"{block} {bound.name}: '{needed}' is missing"
                self._problems.survivable(bound.statement.place(1), message)

    def _script(self, bound: Bound) -> VrrpScript:
        values = dict(bound.values)
        values.setdefault("timeout", values.get("interval", 1.0))
        script: Script = values["script"]
        if script.argv[-1].startswith(("</dev/tcp/", "</dev/udp/")) and "bash" not in os.path.realpath(SHELL):
            message = (
                f"script: only bash knows {script.argv[-1][1:]}, and {SHELL} is another shell here: it always fails"
            )
            hint = f"script \"bash -c '{script.argv[-1]}'\""
            self._problems.warning(bound.places["script"].place(1), message, hint)
        return VrrpScript(bound.name, **values)

    def _file(self, bound: Bound) -> TrackFile:
        return TrackFile(bound.name, **bound.values)

    def _process(self, bound: Bound) -> TrackProcess:
        values = dict(bound.values)
        most = values.get("quorum_max")
        if most is not None and most < values.get("quorum", 1 if most else 0):
            message = f"quorum_max {most} is less than quorum {values.get('quorum', 1)}"
            self._problems.survivable(bound.places["quorum_max"].place(1), message, "it could never be good")
            del values["quorum_max"]
        elif most == 0:
            values["quorum"] = 0
        if "delay" in values:
            values.setdefault("fork_delay", values["delay"])
            values.setdefault("terminate_delay", values["delay"])
        return TrackProcess(bound.name, **values)

    def tracks(self, bound: Bound, kind: str, interface: str = "", owner: bool = False) -> tuple[Track, ...]:
        """What one block says in its track_KIND. `interface`: its own, which it tracks in any case."""
        field = f"track_{kind}"
        found: dict[str, Track] = {}
        for said, statement in zip(bound.values.get(field, ()), bound.items.get(field, ())):
            place = statement.place()
            if said.name in found:
                self._problems.survivable(place, f"{field}: {said.name} is given twice", "the first one counts")
                continue
            if kind == INTERFACE and said.name == interface:
                message = f"{field}: {said.name} is the instance's own interface, which it tracks in any case"
                self._problems.warning(place, message)
                continue
            track = self._resolved(kind, said, place)
            if track is not None and owner and track.weight:
                message = f"{field}: an address owner (priority 255) knows no weights, {said.name} is ignored"
                self._problems.warning(place, message, "'weight 0' makes it FAULT")
            elif track is not None:
                found[said.name] = track
        return tuple(found.values())

    def _resolved(self, kind: str, said: Line, place: Place) -> Track | None:
        if kind == INTERFACE:
            return Track(kind, said.name, said.weight or 0, bool(said.reverse))
        self._used.add((kind, said.name))
        definition = self._found[kind].get(said.name)
        if definition is None:
            if (kind, said.name) not in self._bounds:  # else what is wrong with it has been said
                self._unknown(kind, said.name, place)
            return None
        default: Weight = definition.weight
        value = default.value if said.weight is None else said.weight
        return Track(kind, said.name, value, default.reverse if said.reverse is None else said.reverse)

    def _unknown(self, kind: str, name: str, place: Place) -> None:
        names = list(self._found[kind])
        near = difflib.get_close_matches(name, names, 1, 0.6)
        block = {SCRIPT: "vrrp_script", FILE: "track_file", PROCESS: "vrrp_track_process"}[kind]
        there = f"there {'is' if len(names) == 1 else 'are'} {', '.join(names[:5])}" if names else ""
        hint = f"did you mean '{near[0]}'?" if near else there
        self._problems.survivable(place, f"track_{kind}: there is no {block} {name}", hint)

    def used(self, kind: str) -> tuple[Any, ...]:
        """The definitions that somebody tracks; of the others a warning. To be called once, when all have come by."""
        for name in self._found[kind]:
            if (kind, name) not in self._used:
                place = self._bounds[kind, name].statement.place(1)
                self._problems.warning(place, f"{name} is tracked by nobody: left out")
        return tuple(each for name, each in self._found[kind].items() if (kind, name) in self._used)

    def place(self, kind: str, name: str, keyword: str) -> Place:
        """Where a keyword of a definition stands."""
        return self._bounds[kind, name].places[keyword].place(1)
