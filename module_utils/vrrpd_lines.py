# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keywords of an inventory as lines of keepalived.conf, whatever the keywords are: the daemon's table says their form.

In: keyword -> value as a user writes it in YAML. Out: a tree of lines (block, list, value or flag) that the role's
template writes as it is, with placeholders where a secret belongs, and findings that name variable, value and bound.
Nothing here knows a keyword by name but the secrets (vrrpd_mask.py).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from ansible.module_utils.vrrpd_mask import SECRETS

GLOBAL, INSTANCE, GROUP, TOP = "global_defs", "vrrp_instance", "vrrp_sync_group", "top"
VARIABLE = {GLOBAL: "vrrpd_global_defs", INSTANCE: "vrrpd_instances"}  # what does not stand in vrrpd_blocks
# What would end or change a word of the configuration file (comment, quote, escape, brace, definition).
UNHOLDABLE = frozenset("\"'#!\\{}$")
SPECIAL = '"#!\\{}'  # what a word outside of quotes cannot have
TEXTS = ("string", "path", "name")  # types of one word that may be any text
SINGLE = (*TEXTS, "integer", "seconds", "boolean", "choice", "interface", "address")  # of one word

Lines = list[dict[str, Any]]


class Findings:
    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def error(self, where: str, what: str) -> None:
        line = f"{where}: {what}"
        if line not in self.errors:
            self.errors.append(line)

    def warning(self, where: str, what: str) -> None:
        line = f"{where}: {what}"
        if line not in self.warnings:
            self.warnings.append(line)


def placeholder(*path: str) -> str:
    """What stands in the text for a secret until the node fills it in."""
    return "@@" + re.sub(r"[@\s]", "_", ".".join(path)) + "@@"


def secrets_of(instances: dict[str, Any], overrides: dict[str, Any], blocks: dict[str, Any]) -> dict[str, str]:
    """Placeholder -> value, for one host."""
    found: dict[str, str] = {}
    for name, keywords in instances.items():
        _collect((name,), merged(keywords or {}, overrides.get(name) or {}), found)
    _collect((), blocks_of(blocks, overrides, instances), found)
    return found


def _collect(path: tuple[str, ...], keywords: dict[str, Any], found: dict[str, str]) -> None:
    for keyword, value in keywords.items():
        if keyword in SECRETS:
            found.update({placeholder(*path, keyword, *name): secret for name, secret in _secrets(keyword, value)})
        elif isinstance(value, dict):
            _collect((*path, keyword), value, found)


def _secrets(keyword: str, value: Any) -> Iterator[tuple[list[str], str]]:
    """(words before it, secret), several times where the keyword may stand several times."""
    for line in entries(value):
        words = str(line).split(None, SECRETS[keyword]) if SECRETS[keyword] else [str(line)]
        yield words[:-1], words[-1] if words else ""


def blocks_of(blocks: dict[str, Any], overrides: dict[str, Any], instances: Iterable[str]) -> dict[str, Any]:
    """vrrpd_blocks with what a host's vrrpd_overrides say of them."""
    rest = {key: value for key, value in overrides.items() if key not in instances and key not in VARIABLE}
    found: dict[str, Any] = merged(blocks, rest)
    return found


def merged(below: Any, above: Any) -> Any:
    """Dictionaries are merged, at any depth, and null takes a key away; of anything else the latter counts."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    kept = {key: merged(below.get(key), value) for key, value in above.items() if value is not None}
    return {**{key: value for key, value in below.items() if key not in above}, **kept}


def keywords_of(block: str, table: dict[str, Any]) -> dict[str, Any]:
    keywords: dict[str, Any] = table.get("blocks", {}).get(block, {}).get("keywords", {})
    return keywords


def lines_of(
    block: str,
    keywords: dict[str, Any],
    table: dict[str, Any],
    where: str,
    findings: Findings,
    path: tuple[str, ...],
) -> Lines:
    """The lines of one block in the table's own order, so that a file never changes by a reordered inventory."""
    known = keywords_of(block, table)
    for keyword in sorted(set(keywords) - set(known)):
        findings.error(f"{where}.{keyword}", f"unknown keyword{hint(keyword, known)}")
    lines: Lines = []
    for keyword, row in known.items():
        if keyword not in keywords:
            continue
        value, place = keywords[keyword], f"{where}.{keyword}"
        if row.get("status") == "unsupported":
            if row.get("form") == "bool" and is_bool(value) and not is_true(value):
                continue  # what nobody asks for
            why = f": {row['doc']}" if row.get("doc") else ""
            if row.get("verdict") == "warning":
                findings.warning(place, f"left out, vrrpd does not support it yet{why}")
            else:
                findings.error(place, f"vrrpd does not support it yet{why}")
            continue
        form = row.get("form", "value")
        if row.get("named") and not isinstance(value, dict):
            findings.error(place, f"is a {kind_of(value)}: write name: ...")
        elif form == "block":
            lines += _block_lines(keyword, row, value, table, place, findings, (*path, keyword))
        elif form == "list":
            for name, listed in value.items() if row.get("named") else [("", value)]:
                lines += _list_lines(keyword, name, row, listed, place, findings)
        elif keyword in SECRETS:
            for name, secret in _secrets(keyword, value):
                check_holdable(place, secret, findings)
                mark = placeholder(*path, keyword, *name)
                lines.append({"keyword": keyword, "form": "value", "words": " ".join([*name, mark])})
        else:
            for one in entries(value) if row.get("each") else [value]:
                lines += _value_line(keyword, row, one, place, findings)
    return lines


def _block_lines(
    keyword: str,
    row: dict[str, Any],
    value: Any,
    table: dict[str, Any],
    where: str,
    findings: Findings,
    path: tuple[str, ...],
) -> Lines:
    """`keyword [name] { ... }`, once for each name; of a block without names a list gives several."""
    named = row.get("named")
    found: Lines = []
    for name, keywords in value.items() if named else [("", one) for one in as_list(value)]:
        place = f"{where}.{name}" if named else where
        if named and not is_name(place, name, findings):
            continue
        if keywords is None and named:
            keywords = {}
        if not isinstance(keywords, dict):
            findings.error(place, f"is a {kind_of(keywords)}: write keyword: value")
            continue
        keywords = {key: one for key, one in keywords.items() if one is not None}
        inner = (*path, name) if named else path
        items = lines_of(row.get("block", keyword), keywords, table, place, findings, inner)
        found.append({"keyword": keyword, "name": name, "form": "block", "items": items})
    return found


def _list_lines(keyword: str, name: str, row: dict[str, Any], value: Any, where: str, findings: Findings) -> Lines:
    if name and not is_name(f"{where}.{name}", name, findings):
        return []
    try:
        listed = [_entry(item, row) for item in entries(value)]
    except Unfit as error:
        findings.error(where, f"{error}: write one line of text per entry")
        return []
    return [{"keyword": f"{keyword} {name}".strip(), "form": "list", "lines": listed}] if listed else []


def _value_line(keyword: str, row: dict[str, Any], value: Any, where: str, findings: Findings) -> Lines:
    form = row.get("form", "value")
    if form in ("flag", "bool"):
        if not is_bool(value):
            findings.error(where, f"{shown(value)} is neither true nor false")
        elif form == "bool":
            return [{"keyword": keyword, "form": "value", "words": "on" if is_true(value) else "off"}]
        elif is_true(value):
            return [{"keyword": keyword, "form": "flag"}]
    elif isinstance(value, bool) and row.get("type") != "boolean":
        if not row.get("optional"):
            findings.error(where, f"{value} is no value: write one, in quotes if it is the word yes, no, on or off")
        elif value:  # dynamic_interfaces [allow_if_changes]
            return [{"keyword": keyword, "form": "flag"}]
    else:
        try:
            words = _line(value, row)
        except Unfit as error:
            findings.error(where, f"{error}: write a value")
        else:
            if _in_range(value, row, where, findings):
                return [{"keyword": keyword, "form": "value", "words": words}]
    return []


def entries(value: Any) -> list[Any]:
    """The lines of a list: entries, or first word -> the rest of the line (null: nothing)."""
    if isinstance(value, dict):
        return [name if rest is None else f"{name} {rest}" for name, rest in value.items()]
    return as_list(value)


def places(blocks: Lines, above: str = "") -> Iterator[str]:
    """The variable behind each line of these blocks, as the template writes them: vrrpd_instances.VI_1.priority."""
    for item in blocks:
        keyword = item["keyword"] if above else VARIABLE.get(item["keyword"], f"vrrpd_blocks.{item['keyword']}")
        place = ".".join(step for step in (above, keyword, item.get("name", "")) if step)
        yield place
        if item["form"] == "block":
            yield from places(item["items"], place)
        elif item["form"] == "list":
            yield from [place] * len(item["lines"])
        if item["form"] in ("block", "list"):
            yield place


class Unfit(Exception):
    """A value that the file cannot hold as it is; the text says why."""


def _entry(item: Any, row: dict[str, Any]) -> str:
    """One line of a list. What would be more than a line for the reader is not."""
    line = _line(item, row)
    first = line.split(None, 1)[0]
    if first[0] in "@$~" or first.startswith("include"):
        raise Unfit(f"begins with '{first}', which keepalived.conf has a meaning of its own for")
    return line


def _line(value: Any, row: dict[str, Any]) -> str:
    """One value as the words of a line."""
    kind = row.get("type")
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        if kind == "mode":
            raise Unfit(f"is the number {value} for YAML, which reads 022 as 18: put it in quotes")
        return as_number(value)
    if isinstance(value, (list, tuple)) and value and kind not in SINGLE:
        # Of arguments each entry is one, blanks and all.
        return " ".join(_command(str(item)) if kind == "arguments" else _line(item, row) for item in value)
    if not isinstance(value, str):
        raise Unfit(f"is a {kind_of(value)}")
    text = value.strip("\n") if kind in TEXTS else value.strip()
    if not text.strip():
        raise Unfit("is empty")
    if "\n" in text:
        raise Unfit("has several lines")
    if kind == "script":
        return _command(text)
    odd = sorted({character for character in text if character < " " and character != "\t"})
    if odd:
        raise Unfit(f"has the character {odd[0]!r}, for which the file has no place")
    return _text(text) if kind in TEXTS else _arguments(text) if kind == "arguments" else _words(text)


def _command(text: str) -> str:
    """Text as one word of a command: in quotes when it holds a blank, a comment sign, a brace or a quote."""
    if text and text[0] == text[-1] == '"' and len(text) > 1:
        return text
    if text and not any(character.isspace() or character in f"'{SPECIAL}" for character in text):
        return text
    # \042 and not \": the file is cut at quotes, braces and comment signs before escapes are read
    escaped = (f"\\{ord(each):03o}" if each < " " or each == '"' else each for each in text.replace("\\", "\\\\"))
    return f'"{"".join(escaped)}"'


def _arguments(text: str) -> str:
    """A line in the language of commands; what would end it before its quotes are read is written by its number."""
    if text.count('"') % 2:
        raise Unfit('has a " that is not closed')

    def safe(found: re.Match[str]) -> str:
        word = found.group()
        return f"\\{ord(word[-1]):03o}" if word[-1] in "#!{}" else word

    return re.sub(r'"[^"]*"|\\.|[#!{}]', safe, text)


def _text(text: str) -> str:
    """Text as one word of anything else: there the reader takes quotes off, and knows no escapes."""
    if text[0] == text[-1] == '"' and len(text) > 1:
        text = text[1:-1]
    if '"' in text:
        raise Unfit('has a " in it, for which the file has no place here')
    return f'"{text}"' if not text or any(each.isspace() or each in SPECIAL for each in text) else text


def _words(text: str) -> str:
    """A line of words. Quotes in it are keepalived.conf's; outside of them nothing may end the line or a word."""
    if text.count('"') % 2:
        raise Unfit('has a " that is not closed')

    def safe(found: re.Match[str]) -> str:
        word = found.group()
        return word if word[0] == '"' or not set(SPECIAL) & set(word) else f'"{word}"'

    return re.sub(r'"[^"]*"|[^\s"]+', safe, text)


def is_name(where: str, name: str, findings: Findings) -> bool:
    """The name behind a keyword is one word."""
    good = bool(name) and name[0] not in "@$~" and not any(each.isspace() or each in SPECIAL for each in name)
    if not good:
        findings.error(where, f"'{name}' is no name: write one word, without {' '.join(SPECIAL)}")
    return good


def _in_range(value: Any, row: dict[str, Any], where: str, findings: Findings) -> bool:
    choices = row.get("choices")
    if choices and str(value) not in {str(choice) for choice in choices}:
        findings.error(where, f"{shown(value)} is none of {', '.join(str(choice) for choice in choices)}")
        return False
    if row.get("type") not in ("integer", "seconds"):
        return True
    try:
        number = int(value) if row["type"] == "integer" else float(value)
    except (TypeError, ValueError):
        wanted = "a whole number" if row["type"] == "integer" else "a number of seconds"
        findings.error(where, f"{shown(value)} is not {wanted}")
        return False
    low, high = row.get("min"), row.get("max")
    if (low is not None and number < low) or (high is not None and number > high):
        findings.error(where, f"{shown(value)} is outside {'' if low is None else low}..{'' if high is None else high}")
        return False
    return True


def check_holdable(where: str, secret: str, findings: Findings) -> None:
    if not all(" " < character < "\x7f" for character in secret) or UNHOLDABLE & set(secret):
        findings.error(
            where,
            "has characters that the file cannot hold: use printable ASCII without blanks and without"
            f" {' '.join(sorted(UNHOLDABLE))}",
        )


# --- small things ----------------------------------------------------------------------------------------------------


def kind_of(value: Any) -> str:
    names = {bool: "truth value", int: "number", float: "number", str: "string", list: "list", dict: "dictionary"}
    return "missing value" if value is None else names.get(type(value), type(value).__name__)


def shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else kind_of(value) if isinstance(value, (list, dict)) else str(value)


def is_true(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() in ("yes", "true", "on", "1"))


def is_bool(value: Any) -> bool:
    return isinstance(value, bool) or str(value).lower() in ("yes", "no", "true", "false", "on", "off")


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def as_number(value: Any) -> str:
    """All of its digits, and no exponent: no reader of the file knows one."""
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")


def hint(word: str, known: Iterable[str], prefix: str = "") -> str:
    """What was probably meant; a prefix that all words share makes none of them similar."""
    close = difflib.get_close_matches(word[len(prefix) :], [name[len(prefix) :] for name in known], n=1)
    return f", did you mean '{prefix}{close[0]}'?" if close else ""
