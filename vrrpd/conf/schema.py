"""Keywords as data: `kw()` makes one line of a dataclass a keyword, `Block` collects them, `bind()` fills them.

A Block is a dataclass's kw() fields, the keywords that keepalived has and we do not yet, and a name. `bind` looks
every statement up, converts it and collects every finding; what the values mean together is model/validate.py's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .source import Problems
from .tree import Statement
from .types import FALSE, MISSING, Invalid, Type

T = TypeVar("T")
LAST, FIRST, EACH = "last", "first", "each"  # which of several occurrences counts; lists and blocks add up
FIRST_RELEASE = "0.1.0"
# What people write who know another program, or have it from memory; similar words are found without this.
MEANT = {
    "vrid": "virtual_router_id",
    "router_id": "virtual_router_id",
    "prio": "priority",
    "iface": "interface",
    "dev": "interface",
    "device": "interface",
    "vip": "virtual_ipaddress",
    "vips": "virtual_ipaddress",
    "virtual_ip": "virtual_ipaddress",
    "virtual_address": "virtual_ipaddress",
    "peers": "unicast_peer",
    "password": "auth_pass",
    "advertisement_interval": "advert_int",
    "no_preempt": "nopreempt",
    "lvs_id": "router_id",
    "smtp_server_port": "smtp_server",
    "hello_source_address": "mcast_src_ip",
}


@dataclass(frozen=True)
class Keyword:
    """One keyword of one block. `verdict`: what its appearance means while unsupported, error or warning.

    `since` is the release that supported it first.
    """

    name: str
    type: Type[Any]
    doc: str
    field: str = ""
    default: Any = None
    unit: str = ""
    inherits: str = ""
    repeated: str = LAST
    secret: bool = False
    ours: bool = False  # keepalived does not know it
    verdict: str = ""
    since: str = ""

    @property
    def supported(self) -> bool:
        return not self.verdict


def kw(
    type: Type[Any],
    default: T,
    doc: str,
    *,
    name: str = "",
    unit: str = "",
    inherits: str = "",
    repeated: str = LAST,
    secret: bool = False,
    ours: bool = False,
    since: str = FIRST_RELEASE,
    also: Mapping[str, Type[Any]] | None = None,
    said: Mapping[str, str] | None = None,
) -> T:
    """A field that the keyword of its name sets. `inherits` names the global_defs keyword that gives the default.

    `also` are further keywords for the same field (nopreempt, preempt), `said` the `doc` of those of them that mean
    something else. With `repeated=EACH` the field is a tuple to
    which every occurrence adds. Typed as the field's own type for mypy.
    """
    keywords = [(name, type), *(also or {}).items()]
    common = {"doc": doc, "unit": unit, "inherits": inherits, "repeated": repeated, "secret": secret, "ours": ours}
    common["since"] = since
    metadata = {"keywords": keywords, "common": common, "said": said or {}}
    value: T = field(default=default, repr=not secret, metadata=metadata)
    return value


def known(name: str, type: Type[Any], verdict: str, doc: str, repeated: str = LAST, secret: bool = False) -> Keyword:
    """A keyword of keepalived that is not supported yet. `doc` says why it may be left out, or may not."""
    return Keyword(name, type, doc, verdict=verdict, repeated=repeated, secret=secret)


class Block:
    """A kind of block: its keywords by name, and the dataclass that its values go to."""

    def __init__(
        self,
        name: str,
        doc: str,
        shape: type[Any] | None = None,
        others: Iterable[Keyword] = (),
        private: bool = False,
    ) -> None:
        """`private`: what stands in it may be secret whatever word it follows."""
        self.name = name
        self.doc = doc
        self.private = private
        self.keywords: dict[str, Keyword] = {}
        for item in dataclasses.fields(shape) if shape else ():
            default = None if item.default is dataclasses.MISSING else item.default
            for keyword, kind in item.metadata.get("keywords", ()):
                common = {
                    **item.metadata["common"],
                    "doc": item.metadata["said"].get(keyword, item.metadata["common"]["doc"]),
                }
                row = Keyword(keyword or item.name, kind, field=item.name, default=default, **common)
                self.keywords[row.name] = row
        for row in others:
            self.keywords[row.name] = row


class Bound:
    """A block as written: values by field, and for each the statement that gave it."""

    __slots__ = ("block", "items", "places", "statement", "tried", "values")

    def __init__(self, block: Block, statement: Statement) -> None:
        self.block = block
        self.statement = statement
        self.values: dict[str, Any] = {}
        self.places: dict[str, Statement] = {}
        self.tried: set[str] = set()  # fields that were given, well or not: nobody need say that they are missing
        self.items: dict[str, list[Statement]] = {}  # for what adds up: the statement of each value

    @property
    def name(self) -> str:
        return self.statement.words[1] if len(self.statement.words) > 1 else ""


class Binder:
    """Fills blocks. `blocks` are all kinds by name: Nested types refer to them."""

    def __init__(self, blocks: Mapping[str, Block], problems: Problems) -> None:
        self.blocks = blocks
        self.problems = problems

    def bind(self, block: Block, statement: Statement) -> Bound:
        """The values of a block's statements; findings go to `problems`."""
        bound = Bound(block, statement)
        keywords = block.keywords
        for item in statement.block or ():
            row = keywords.get(item.words[0])
            if row is None:
                meant = self._unknown(item, block)
                bound.tried.add(keywords[meant].field if meant else "")
            elif row.verdict:
                self._unsupported(row, item)
            else:
                self._take(row, item, bound)
        return bound

    def _take(self, row: Keyword, statement: Statement, bound: Bound) -> None:
        bound.tried.add(row.field)
        if row.type.alone and statement.block is None and len(statement.words) > 1:
            statement = statement.with_block()
        if statement.broken or not self._fits(row, statement):
            return
        if row.type.form == "list":
            values = bound.values.setdefault(row.field, [])
            items = bound.items.setdefault(row.field, [])
            if not statement.block:
                self.problems.warning(statement.place(), f"'{row.name}' is empty")
            for item in statement.block or ():
                self._item(row, item, values)
                items.extend([item] * (len(values) - len(items)))
            bound.places.setdefault(row.field, statement)
        elif row.type.form == "block":
            nested = self.bind(self.blocks[row.type.block], statement)
            bound.values.setdefault(row.field, []).append(nested)
            bound.places.setdefault(row.field, statement)
        else:
            self._value(row, statement, bound)

    def _fits(self, row: Keyword, statement: Statement) -> bool:
        """Whether it has the words and the block that its type asks for."""
        kind = row.type
        wants_block = kind.form in ("list", "block")
        if row.secret:
            for word in statement.words[1 + kind.public :]:
                self.problems.mask(word)
        count = len(statement.words) - 1
        if count < kind.least:
            self.problems.error(statement.place(count + 1), f"'{row.name}' needs a {'name' if kind.named else 'value'}")
            return False
        if wants_block and statement.block is None:
            inner = " ".join(statement.words[1:]) if kind.form == "list" else ""
            hint = f"write {row.name} {{ {inner or '...'} }}"
            self.problems.survivable(statement.place(), f"'{row.name}' needs a block", hint)
            return False
        if count > kind.most:
            word = statement.words[kind.most + 1]
            what = "the word" if row.secret else f"'{word}'"
            hint = ""
            if kind.named:
                hint = 'a name with blanks stands in "quotes"'
            elif kind.form == "flag" and word in FALSE:
                hint = f"its presence counts: to say no, remove '{row.name}'"
            report = self.problems.survivable if wants_block else self.problems.warning
            report(statement.place(kind.most + 1), f"{what} after '{row.name}' is ignored", hint)
        if not wants_block and statement.block is not None:
            self.problems.survivable(statement.place(), f"'{row.name}' takes no block")
            return False
        return True

    def _value(self, row: Keyword, statement: Statement, bound: Bound) -> None:
        try:
            value = row.type.convert(statement)
        except Invalid as invalid:
            value = self._refused(row, statement, invalid)
        if value is MISSING:
            return
        if row.repeated == EACH:
            bound.values.setdefault(row.field, []).append(value)
            bound.items.setdefault(row.field, []).append(statement)
            bound.places.setdefault(row.field, statement)
            return
        if row.field in bound.values and not self._repeated(row, statement, bound):
            return
        bound.values[row.field] = value
        bound.places[row.field] = statement

    def _item(self, row: Keyword, statement: Statement, values: list[Any]) -> None:
        if statement.block is not None:
            self.problems.survivable(
                statement.place(), f"{row.name}: no block can stand here", "is a '}' missing above?"
            )
            return
        try:
            values.extend(row.type.items(statement))  # type: ignore[attr-defined]
        except Invalid as invalid:
            value = self._refused(row, statement, invalid)
            if value is not MISSING:
                values.append(value)

    def _refused(self, row: Keyword, statement: Statement, invalid: Invalid) -> Any:
        place = statement.place(invalid.index)
        message = f"{row.name}: {invalid.message}"
        report = self.problems.error if invalid.fatal else self.problems.survivable
        report(place, message, invalid.hint)
        return invalid.fallback

    def _repeated(self, row: Keyword, statement: Statement, bound: Bound) -> bool:
        before = bound.places[row.field]
        where = f"line {before.line.number}"
        if row.repeated == FIRST:
            self.problems.survivable(statement.place(), f"'{row.name}' is already given in {where}, which counts")
            return False
        self.problems.warning(statement.place(), f"'{row.name}' replaces the one in {where}")
        return True

    def _unsupported(self, row: Keyword, statement: Statement) -> None:
        if row.type.form == "bool" and statement.words[1:2] and statement.words[1] in ("no", "off", "false"):
            return
        message = f"'{row.name}' is not supported yet: {row.doc}"
        if row.verdict == "error":
            self.problems.survivable(statement.place(), message)
        else:
            self.problems.warning(statement.place(), message)
        self._names(row, statement)

    def _names(self, row: Keyword, statement: Statement) -> None:
        """Inside an unsupported block only the names are checked."""
        if not row.type.block:
            return
        block = self.blocks[row.type.block]
        for item in statement.block or ():
            inner = block.keywords.get(item.words[0])
            if inner is None:
                self._unknown(item, block)
            else:
                self._names(inner, item)

    def _unknown(self, statement: Statement, block: Block) -> str:
        """Reports it; the answer is the keyword that was probably meant."""
        import difflib  # only a mistake pays for it

        word = statement.words[0]
        if word == "{" or statement.broken:
            return ""  # reported already
        where = f" in {block.name}" if block.name else ""
        if block.private:
            for secret in statement.words[1:]:  # its name is wrong, its value may be right
                self.problems.mask(secret)
        hint = meant = ""
        top = self.blocks[""].keywords
        # Where somebody looks for the word, the blocks of load balancing come last: their keywords have common names.
        homes = [other for other in self.blocks.values() if other.name and word in other.keywords]
        homes.sort(key=lambda other: not any(row.supported for row in other.keywords.values()))
        near = MEANT.get(word.lower(), "")
        elsewhere = [other.name for other in self.blocks.values() if near in other.keywords]
        if near not in block.keywords:
            lower = {name.lower(): name for name in block.keywords}
            near = lower.get((difflib.get_close_matches(word.lower(), lower, 1, 0.7) or [""])[0], "")
        if block.name and word in top and top[word].type.form == "block":
            hint = "is a '}' missing above?"
        elif homes and (any(row.supported for row in homes[0].keywords.values()) or not (near or elsewhere)):
            hint = f"'{word}' belongs in {homes[0].name}" + ("" if block.name else ": is a '}' too many above?")
        elif near:
            meant = near
            hint = f"did you mean '{meant}'?"
        elif elsewhere:
            hint = f"did you mean '{MEANT[word.lower()]}' in {elsewhere[0]}?"
        self.problems.survivable(statement.place(), f"unknown keyword '{word}'{where}", hint)
        return meant
