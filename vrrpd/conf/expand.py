"""From files to logical lines: include, `$definitions`, `@conditions`, `~SEQ` and `~LST` (keepalived.conf(5) "ADVANCED
CONFIGURATION").

In: a path or a text. Out: `Line`s in order, each knowing the physical line and columns that it came from. An include
line is recognised before any substitution, as in keepalived. Definitions are substituted when used, so a later value
counts from there on. What a hostile file could multiply without end (definitions, sequences, includes) is bounded.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .lexer import without_comment
from .source import Place, Problems, Source

MAX_LINES = 1_000_000  # keepalived.conf(5)'s own largest example makes 65 024 instances of 15 lines
MAX_LINE = 65536
MAX_REPLACEMENTS = 10_000  # in one line
MAX_DEPTH = 64

if TYPE_CHECKING:
    from random import Random

INTERESTING = re.compile(r"[#!$@~\\]|^\s*(?:include|random_seed\s)")
INCLUDE = re.compile(r"^\s*(include(?:_check|[rmwba])?)(?:\s+(.*?))?\s*$")
DEFINITION = re.compile(r"^\s*\$([A-Za-z_]\w*)=(.*)$", re.DOTALL)
CONDITION = re.compile(r"^\s*@(\^?)(\S*)")
REFERENCE = re.compile(r"\$(?:\{\s*(?P<braced>\w+)(?P<arguments>(?:\s+[^\s}]+)*)\s*\}|(?P<bare>[A-Za-z_]\w*)(?=\s|$))")
REPEAT = re.compile(r"^\s*~(SEQx?|LST)\(")
NUMBER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|\d+)\Z")
RANDOM_SEED = re.compile(r"^\s*random_seed\s+(\d+)")

CHECKS = ("readable", "match", "wildcard_match", "brace_match")
VARIANTS = {"includer": ("readable",), "includem": ("readable", "match"), "includew": ("readable", "wildcard_match")}
VARIANTS.update(includeb=("readable", "brace_match"), includea=CHECKS)


class Line:
    """One logical line. `marks` lists what substitution replaced: (start, end, column, length), ascending."""

    __slots__ = ("marks", "number", "source", "text", "used")

    def __init__(
        self,
        source: Source,
        number: int,
        text: str,
        marks: list[tuple[int, int, int, int]] | None = None,
        used: Place | None = None,
    ) -> None:
        self.source = source
        self.number = number
        self.text = text
        self.marks = marks
        self.used = used

    def place(self, start: int = 0, end: int | None = None) -> Place:
        """The physical place of text[start:end]; of the whole line, without its blanks, by default."""
        if end is None:
            start = len(self.text) - len(self.text.lstrip())
            end = max(start + 1, len(self.text.rstrip()))
        shift = 0
        for mark_start, mark_end, column, length in self.marks or ():
            if end <= mark_start:
                break
            if start < mark_end:
                return Place(self.source, self.number, column, length, self.used)
            shift = (column - 1 + length) - mark_end
        return Place(self.source, self.number, start + shift + 1, end - start, self.used)

    def tail(self, start: int) -> Line:
        """The line with everything before `start` blanked, so that columns stay."""
        return Line(self.source, self.number, " " * start + self.text[start:], self.marks, self.used)


Body = list[Line]


class _TooMuch(Exception):
    """A definition or sequence grows beyond what a configuration can mean."""


class Reader:
    """Reads one configuration. `config_id` is what @conditions compare with."""

    def __init__(self, config_id: str, problems: Problems, max_lines: int = MAX_LINES) -> None:
        self.config_id = config_id
        self.problems = problems
        self.sha256 = ""
        self.defined: dict[str, Body] = {}
        self.sources = 0
        self.files: list[tuple[str, bytes]] = []
        self.max_lines = max_lines
        self._lines = 0
        self._checks: frozenset[str] = frozenset()
        self._random: Random | None = None

    def read_file(self, path: str) -> Iterator[Line]:
        """The logical lines of the main file. Raises OSError when it cannot be read."""
        with open(path, "rb") as file:
            return self.read_bytes(path, file.read())

    def read_bytes(self, path: str, data: bytes) -> Iterator[Line]:
        """The logical lines of a text that stands for the file `path`."""
        import hashlib  # here: the daemons share this module's Line and need no OpenSSL

        self.sha256 = hashlib.sha256(data).hexdigest()
        return self._guarded(self._source(path, data, None))

    def _source(self, path: str, data: bytes, via: Place | None) -> Source:
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = "" if wide else data.decode("utf-8", "surrogateescape")
        lines = text.replace("\r\n", "\n").split("\n")
        self.sources += 1
        self.files.append((path, data))
        source = Source(path, os.path.dirname(os.path.abspath(path)), lines, self.sources, via)
        if wide:
            self.problems.error(Place(source, 1), "the file is UTF-16", "save it as UTF-8")
        return source

    def _guarded(self, source: Source) -> Iterator[Line]:
        try:
            yield from self._read(source)
        except _TooMuch as too_much:
            line, message = too_much.args
            self.problems.error(line.place(), message)

    def _read(self, source: Source) -> Iterator[Line]:
        self.defined["_PWD"] = [Line(source, 0, source.directory)]
        lines = source.lines
        number, count = 0, len(lines)
        while number < count:
            text = lines[number]
            number += 1
            if not INTERESTING.search(text):
                yield Line(source, number, text)
                continue
            include = INCLUDE.match(text)
            if include:
                yield from self._include(Line(source, number, without_comment(text)))
                self.defined["_PWD"] = [Line(source, 0, source.directory)]
                continue
            first = Line(source, number, without_comment(text).rstrip())
            body = [first]
            if first.text.endswith("\\") and _defines(first.text):
                number = self._continuation(source, number, body)
            yield from self._line(body, ())

    def _continuation(self, source: Source, number: int, body: Body) -> int:
        """Collects the lines of a multi-line definition; blank ones between do not end it."""
        while number < len(source.lines):
            text = without_comment(source.lines[number]).rstrip()
            number += 1
            if not text.strip():
                continue
            body.append(Line(source, number, text))
            if not text.endswith("\\"):
                break
        return number

    def _line(self, body: Body, stack: tuple[str, ...]) -> Iterator[Line]:
        """One line with everything that may lead it. `body` has more than one element for a multi-line definition."""
        line = body[0]
        while True:
            text = line.text
            lead = text.lstrip()[:1]
            if lead == "@":
                condition = CONDITION.match(text)
                assert condition
                if (condition.group(2) == self.config_id) == bool(condition.group(1)):
                    return
                line = line.tail(condition.end())
            elif lead == "~" and REPEAT.match(text):
                yield from self._repeat(line, body[1:], stack)
                return
            elif lead == "$" and DEFINITION.match(text):
                self._define(line, body[1:])
                return
            else:
                break
        seed = RANDOM_SEED.match(line.text)
        if seed:
            self._generator().seed(int(seed.group(1)[:20]))
        if "$" not in line.text:
            yield self._counted(line)
            return
        several = self._multiline(line)
        if several:
            yield from self._insert(line, several, stack)
            return
        expanded = self._substituted(line)
        leads = expanded.text.lstrip()[:1] in ("@", "~", "$") and expanded.text != line.text
        if leads and not self._circular:
            if len(stack) > MAX_DEPTH:
                raise _TooMuch(line, f"this line needs more than {MAX_DEPTH} rounds of substitution")
            yield from self._line([expanded], (*stack, ""))
        else:
            yield self._counted(expanded)

    def _counted(self, line: Line) -> Line:
        self._lines += 1
        if self._lines > self.max_lines:
            raise _TooMuch(line, f"the configuration expands to more than {self.max_lines} lines")
        return line

    # $definitions

    def _define(self, line: Line, rest: Body) -> None:
        match = DEFINITION.match(line.text)
        assert match
        name, value = match.groups()
        if not rest:
            self.defined[name] = [Line(line.source, line.number, value.strip(), None, line.used)]
            return
        first = line.tail(match.start(2))
        lines = [Line(part.source, part.number, part.text.rstrip("\\").rstrip()) for part in (first, *rest)]
        self.defined[name] = [part for part in lines if part.text.strip()]

    def _multiline(self, line: Line) -> re.Match[str] | None:
        for match in REFERENCE.finditer(line.text):
            if len(self.defined.get(match.group("braced") or match.group("bare"), ())) > 1:
                return match
        return None

    def _insert(self, line: Line, match: re.Match[str], stack: tuple[str, ...]) -> Iterator[Line]:
        name = match.group("braced") or match.group("bare")
        used = line.place(match.start(), match.end())
        if name in stack or len(stack) > MAX_DEPTH:
            self.problems.error(used, f"the definition ${name} contains itself")
            return
        if line.text[: match.start()].strip():
            before = Line(line.source, line.number, line.text[: match.start()], line.marks, line.used)
            yield from self._line([before], stack)
        body = [Line(part.source, part.number, part.text, None, used) for part in self.defined[name]]
        for part in body:
            if INCLUDE.match(part.text):
                self.problems.warning(part.place(), "include inside a definition is not an include line")
            yield from self._line([part], (*stack, name))
        if line.text[match.end() :].strip():
            yield from self._line([line.tail(match.end())], stack)

    def _substituted(self, line: Line) -> Line:
        marks: list[tuple[int, int, int, int]] = []
        pieces: list[str] = []
        length = position = 0
        self._replacements, self._circular = 0, False
        for match in REFERENCE.finditer(line.text):
            value = self._value(match, line, ())
            if value is None:
                continue
            pieces += (line.text[position : match.start()], value)
            start = length + match.start() - position
            length = start + len(value)
            origin = line.place(match.start(), match.end())
            marks.append((start, length, origin.column, origin.length))
            position = match.end()
        if not pieces:
            return line
        pieces.append(line.text[position:])
        return Line(line.source, line.number, "".join(pieces), marks, line.used)

    def _value(self, match: re.Match[str], line: Line, stack: tuple[str, ...]) -> str | None:
        """What a reference stands for, recursively; None leaves it as it is written."""
        name = match.group("braced") or match.group("bare")
        arguments = (match.group("arguments") or "").split()
        if name not in self.defined:
            return self._predefined(name, arguments) if match.group("braced") else None
        self._replacements += 1
        if name in stack:
            self._circular = True
            self.problems.error(line.place(), f"the definition ${name} contains itself")
            return None
        if self._replacements > MAX_REPLACEMENTS:
            raise _TooMuch(line, f"this line needs more than {MAX_REPLACEMENTS} substitutions")
        text = " ".join(part.text.strip() for part in self.defined[name])

        def inner(reference: re.Match[str]) -> str:
            value = self._value(reference, line, (*stack, name))
            return reference.group() if value is None else value

        text = REFERENCE.sub(inner, text)
        if len(text) > MAX_LINE:
            raise _TooMuch(line, f"this line expands to more than {MAX_LINE} characters")
        return text

    def _predefined(self, name: str, arguments: list[str]) -> str | None:
        if name == "_INSTANCE":
            return self.config_id
        if name == "_HASH":
            return "#"
        if name == "_BANG":
            return "!"
        if name == "_ENV" and len(arguments) == 1:
            return os.environ.get(arguments[0], "")
        if name == "_RANDOM" and len(arguments) <= 2 and all(a.isdigit() and len(a) < 10 for a in arguments):
            low = int(arguments[0]) if arguments else 0
            high = int(arguments[1]) if len(arguments) > 1 else 32767
            return str(self._generator().randint(min(low, high), max(low, high)))
        return None

    def _generator(self) -> Random:
        if self._random is None:
            from random import Random

            self._random = Random()
        return self._random

    # ~SEQ, ~LST

    def _repeat(self, line: Line, rest: Body, stack: tuple[str, ...]) -> Iterator[Line]:
        end = line.text.find(")")
        if end < 0:
            self.problems.survivable(line.place(), "~SEQ or ~LST has no closing ')'")
            return
        head = self._substituted(Line(line.source, line.number, line.text[: end + 1], line.marks, line.used))
        match = REPEAT.match(head.text)
        kind = match.group(1) if match else ""
        inside = head.text[match.end() : -1] if match else ""
        place = line.place(len(line.text) - len(line.text.lstrip()), end + 1)
        steps = _list(inside) if kind == "LST" else _sequence(inside, kind == "SEQx")
        if isinstance(steps, str):
            self.problems.survivable(place, f"~{kind or 'SEQ'}({inside.strip()}): {steps}")
            return
        if not line.text[end + 1 :].strip():
            self.problems.survivable(place, f"nothing follows ~{kind}(...) to be repeated")
            return
        names, values = steps
        tail = [line.tail(end + 1), *rest]
        saved = {name: self.defined.get(name) for name in names}
        for row in values:
            for name, value in zip(names, row):
                self.defined[name] = [Line(line.source, line.number, value)]
            before = self._lines
            yield from self._line(tail, stack)
            if self._lines == before:  # a repetition that yields nothing still costs a turn
                self._counted(line)
        for name, body in saved.items():
            if body is None:
                self.defined.pop(name, None)
            else:
                self.defined[name] = body

    # include

    def _include(self, line: Line) -> Iterator[Line]:
        match = INCLUDE.match(line.text)
        assert match
        word, argument = match.group(1), (match.group(2) or "").strip()
        place = line.place(match.start(2), match.end(2)) if argument else line.place()
        if word == "include_check":
            self._set_checks(argument, place)
            return
        if len(argument) > 1 and argument[0] == argument[-1] and argument[0] in "\"'":
            argument = argument[1:-1]
        if not argument:
            self.problems.survivable(place, f"{word} needs a file name")
            return
        if "\0" in argument:
            self.problems.survivable(place, f"{word}: a file name cannot contain a NUL character")
            return
        checks = self._checks | frozenset(VARIANTS.get(word, ()))
        for path in self._matches(argument, line.source, checks, place):
            yield from self._include_file(path, checks, place)

    def _set_checks(self, argument: str, place: Place) -> None:
        words = argument.split()
        if not words:
            self._checks = frozenset(CHECKS)
            return
        if words[0][0] not in "+-":
            self._checks = frozenset()
        for word in words:
            name = word.lstrip("+-")
            if name not in CHECKS:
                self.problems.survivable(place, f"include_check: '{name}' is not one of {', '.join(CHECKS)}")
            elif word.startswith("-"):
                self._checks -= {name}
            else:
                self._checks |= {name}

    def _matches(self, argument: str, source: Source, checks: frozenset[str], place: Place) -> list[str]:
        found: list[str] = []
        alternatives = list(_braces(argument))
        demanding = checks & ({"brace_match"} if len(alternatives) > 1 else {"match", "wildcard_match"})
        for alternative in alternatives:
            pattern = os.path.join(os.path.dirname(source.path), alternative)
            if glob.has_magic(alternative):
                matches = sorted(glob.glob(pattern))
                if not matches and "wildcard_match" in checks:
                    self.problems.survivable(place, f"no file matches '{alternative}'")
                found += matches
            elif os.path.lexists(pattern):
                found.append(pattern)
            elif demanding:
                self.problems.survivable(place, f"'{alternative}' does not exist")
            elif len(alternatives) == 1:
                self.problems.warning(place, f"'{alternative}' does not exist, nothing is included")
        return found

    def _include_file(self, path: str, checks: frozenset[str], place: Place) -> Iterator[Line]:
        via: Place | None = place
        depth = 0
        while via is not None:
            depth += 1
            if os.path.realpath(via.source.path) == os.path.realpath(path) or depth > MAX_DEPTH:
                self.problems.error(place, f"'{path}' includes itself")
                return
            via = via.source.via
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return  # keepalived reads regular files only, so that conf.d/* may hold folders
            with open(path, "rb") as file:
                source = self._source(path, file.read(), place)
        except OSError as error:
            message = f"cannot read '{path}': {error.strerror}"
            if "readable" in checks:
                self.problems.survivable(place, message)
            else:
                self.problems.warning(place, message)
            return
        saved = self._checks
        yield from self._read(source)
        self._checks = saved


def _defines(text: str) -> bool:
    """Whether a line, whatever condition or sequence leads it, begins a definition."""
    return bool(re.match(r"^\s*(?:@\S*\s+|~(?:SEQx?|LST)\([^)]*\)\s*)*\$[A-Za-z_]\w*=", text))


def _number(text: str) -> int | None:
    text = text.strip()
    if len(text) > 18 or not NUMBER.match(text):
        return None
    digits = text.lstrip("+-")
    value = int(digits, 16) if digits[:2] in ("0x", "0X") else int(digits)
    return -value if text.startswith("-") else value


Steps = tuple[list[str], Iterator[list[str]]]


def _sequence(inside: str, hexadecimal: bool) -> Steps | str:
    name, *rest = (part.strip() for part in inside.split(","))
    numbers = [_number(part) for part in rest]
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        return f"'{name}' is not a name"
    if not 1 <= len(numbers) <= 3:
        return "expected (name, [start, [step,]] end)"
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        return "start, step and end are whole numbers"
    end = known[-1]
    start = known[0] if len(known) > 1 else (1 if end > 0 else -1)
    step = known[1] if len(known) > 2 else (1 if end >= start else -1)
    if step == 0 or (end - start) * step < 0:
        return f"{end} cannot be reached from {start} in steps of {step}"
    values = range(start, end + (1 if step > 0 else -1), step)
    return [name], ([f"{value:x}" if hexadecimal else str(value)] for value in values)


def _list(inside: str) -> Steps | str:
    items = [item.strip() for item in re.findall(r"\{[^{}]*\}|[^,{}]+", inside) if item.strip()]
    if len(items) < 2:
        return "expected (name, value, ...) or ({name, name}, {value, value}, ...)"
    rows = [[part.strip() for part in item.strip("{}").split(",")] if item[0] == "{" else [item] for item in items]
    names, values = rows[0], rows[1:]
    for name in names:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            return f"'{name}' is not a name"
    for row in values:
        if len(row) != len(names):
            return f"{len(names)} name(s), but {len(row)} value(s) in {{{','.join(row)}}}"
    return names, iter(values)


def _braces(pattern: str, depth: int = 0) -> Iterator[str]:
    """csh brace expansion: a{b,c{d,e}}f."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match or depth > 8 or "," not in match.group(1):
        yield pattern
        return
    for part in match.group(1).split(","):
        yield from _braces(pattern[: match.start()] + part + pattern[match.end() :], depth + 1)
