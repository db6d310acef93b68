"""The names that iproute2 gives to numbers: tables, protocols, scopes, realms, fields, groups; and VRFs to tables.

Read when first needed, from /usr/share/iproute2 (/usr/lib/iproute2 before it) and, which wins, /etc/iproute2, each
with its NAME.d folder. Numbers are decimal, as keepalived takes them, or hexadecimal with 0x.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from vrrpd.conf.types import Invalid

USR_FOLDERS = ("/usr/lib/iproute2", "/usr/share/iproute2")
ETC_FOLDER = "/etc/iproute2"

# What the program knows without a file.
BUILT_IN: dict[str, dict[str, int]] = {
    "rt_tables": {"default": 253, "main": 254, "local": 255},
    "rt_protos": {"redirect": 1, "kernel": 2, "boot": 3, "static": 4, "keepalived": 18},
    "rt_scopes": {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255},
    "rt_realms": {"cosmos": 0},
    "rt_dsfield": {"default": 0},
    "group": {"default": 0},
}


class Names:
    """`folders`: of the distribution and of this machine, "" for the usual ones. `vrfs` tells the tables of this
    machine's VRF interfaces, should one be named.
    """

    def __init__(self, folders: tuple[str, str] = ("", ""), vrfs: Callable[[], Mapping[str, int]] = dict) -> None:
        usr, etc = folders
        self._folders = (*((usr,) if usr else USR_FOLDERS), etc or ETC_FOLDER)
        self._vrfs = vrfs
        self._tables: dict[str, dict[str, int]] = {}

    def number(self, table: str, word: str, index: int, most: int, what: str) -> int:
        """A name of `table`, or a number up to `most`; Invalid says what it is not."""
        found = self._table(table).get(word)
        if found is None:
            found = numeric(word, index, most) if word[:1].isdigit() else -1
        if found < 0:
            raise Invalid(f"there is no {what} '{word}'", index, f"a number, or a name of {ETC_FOLDER}/{table}")
        return found

    def vrf(self, word: str, index: int) -> int:
        table = self._vrfs().get(word)
        if table is None:
            raise Invalid(f"there is no VRF '{word}' on this machine", index)
        return table

    def _table(self, name: str) -> dict[str, int]:
        known = self._tables.get(name)
        if known is None:
            by_number = {number: word for word, number in BUILT_IN[name].items()}
            for folder in self._folders:
                for path in (os.path.join(folder, name), *_inside(os.path.join(folder, f"{name}.d"))):
                    by_number.update((number, word) for word, number in _entries(path))
            # Of several numbers with one name the lowest counts, as for ip(8): FRR calls 196 "static" too.
            known = self._tables[name] = {by_number[number]: number for number in sorted(by_number, reverse=True)}
        return known


def _inside(folder: str) -> list[str]:
    try:
        return [os.path.join(folder, entry) for entry in sorted(os.listdir(folder)) if entry.endswith(".conf")]
    except OSError:
        return []


def _entries(path: str) -> Iterable[tuple[str, int]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if len(words) >= 2:
            try:
                yield words[1], int(words[0], 0)
            except ValueError:
                continue


def numeric(word: str, index: int, most: int, least: int = 0) -> int:
    """Decimal, or hexadecimal with 0x."""
    digits = word[2:] if word[:2] in ("0x", "0X") else word
    try:
        value = int(digits, 10 if digits is word else 16) if len(word) <= 20 and word.isascii() else -1
    except ValueError:
        value = -1
    if not digits.isalnum() or value < 0:
        raise Invalid(f"'{word}' is not a number", index)
    if not least <= value <= most:
        raise Invalid(f"{word} is outside {least}..{most}", index)
    return value
