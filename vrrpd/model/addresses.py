"""A line of virtual_ipaddress, virtual_ipaddress_excluded or static_ipaddress: ip-address(8) as far as keepalived goes.

    IP[/len] [brd IP|+|-] [dev IF] [scope S] [label L] [peer IP[/len]] [home] [-nodad] [mngtmpaddr] [noprefixroute]
             [autojoin] [preferred_lft SECONDS|forever] [no_track]
    virtual: [use_vmac]    static: [track_group NAME]

In: words. Out: a VirtualAddress, or Invalid with what remains of it as the fallback: what keepalived overlooks or
skips in a line is left out, the rest of the line counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vrrpd.conf.types import Invalid, address, integer, interface_name, prefix_length

from .values import FOREVER, VirtualAddress

# linux/rtnetlink.h RT_SCOPE_*, under the names of ip-address(8)
SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
FLAGS = {"home": 0x10, "mngtmpaddr": 0x100, "noprefixroute": 0x200, "autojoin": 0x400}  # linux/if_addr.h IFA_F_*
SIX_ONLY = ("home", "mngtmpaddr", "-nodad")


def address_line(words: Sequence[str], static: bool = False) -> tuple[VirtualAddress, str]:
    """The address, and of a static one its track_group or ""."""
    text, _, length = words[0].partition("/")
    packed = address(text, 0)
    bits = len(packed) * 8
    prefixlen = prefix_length(length, bits, 0, VirtualAddress(packed, bits)) if length else bits
    if len(words) == 1:
        return VirtualAddress(packed, prefixlen), ""
    return _Options(packed, prefixlen, bool(length), static).read(words)


class _Options:
    """What stands behind an address, word by word."""

    def __init__(self, packed: bytes, prefixlen: int, said: bool, static: bool) -> None:
        self.packed, self.prefixlen, self.said, self.static = packed, prefixlen, said, static
        self.given: dict[str, Any] = {}
        self.flags = 0
        self.track_group = ""
        self.brd: tuple[str, int] | None = None
        self.complaint: Invalid | None = None

    def read(self, words: Sequence[str]) -> tuple[VirtualAddress, str]:
        index = 1
        while index < len(words):
            word = words[index]
            handler = _WITH_VALUE.get(word)
            if handler is not None and (self.static or word != "track_group"):
                if index + 1 == len(words):
                    raise Invalid(f"'{word}' needs a value", index)
                self._attempt(handler, words[index + 1], index + 1)
                index += 2
                continue
            self._attempt(_Options._alone, word, index)
            index += 1
        if self.brd is not None:
            self._attempt(_Options._broadcast, *self.brd)
        found = self.result()
        if self.complaint is not None:
            self.complaint.fallback = (found, self.track_group) if self.static else found
            raise self.complaint
        return found, self.track_group

    def result(self) -> VirtualAddress:
        given = self.given
        if len(self.packed) == 16:
            given.pop("label", None)  # labels and scopes belong to IPv4 (linux/if_addr.h)
            given.pop("scope", None)
        else:
            given.pop("preferred", None)  # observed with keepalived: deprecates IPv6 addresses only
        return VirtualAddress(self.packed, self.prefixlen, flags=self.flags, **given)

    def _attempt(self, handler: Callable[[_Options, str, int], None], word: str, index: int) -> None:
        """The first complaint is made; the rest of the line is read all the same."""
        try:
            handler(self, word, index)
        except Invalid as invalid:
            self.complaint = self.complaint or invalid

    def _alone(self, word: str, index: int) -> None:
        if word in FLAGS or word == "-nodad":
            if word in SIX_ONLY and len(self.packed) == 4:
                return  # the kernel overlooks it, and keepalived says nothing either
            if word == "mngtmpaddr" and self.prefixlen != 64:
                raise Invalid("mngtmpaddr needs a /64: temporary addresses are made in one (RFC 8981)", index)
            self.flags |= FLAGS.get(word, 0)
            if word == "-nodad":
                self.given["dad"] = True
        elif word == "no_track":
            self.given["no_track"] = True
        elif word == "use_vmac" and not self.static:
            self.given["use_vmac"] = True
        else:
            raise Invalid(f"'{word}' is no option of an address", index, _meant(word))

    def _dev(self, word: str, index: int) -> None:
        if "dev" in self.given:
            raise Invalid(f"a second interface, {word}", index)
        self.given["dev"] = interface_name(word, index)

    def _label(self, word: str, index: int) -> None:
        if len(word) > 15:  # linux/if.h IFNAMSIZ
            raise Invalid(f"the label '{word}' is longer than 15 characters", index)
        self.given["label"] = word

    def _scope(self, word: str, index: int) -> None:
        self.given["scope"] = scope(word, index)

    def _brd(self, word: str, index: int) -> None:
        if len(self.packed) == 16:
            raise Invalid("IPv6 has no broadcast address", index)
        self.brd = word, index  # the prefix length may be that of a peer, still to come

    def _broadcast(self, word: str, index: int) -> None:
        if "peer" in self.given:
            raise Invalid("an address with a peer has no broadcast address", index)
        if word not in ("+", "-"):
            self.given["broadcast"] = address(word, index)
            return
        if self.prefixlen > 30:
            hint = "" if self.said else "write the length of its subnet behind the address"
            raise Invalid(f"a /{self.prefixlen} has no broadcast address", index, hint)
        bits = (1 << (32 - self.prefixlen)) - 1
        value = int.from_bytes(self.packed, "big")
        self.given["broadcast"] = (value | bits if word == "+" else value & ~bits).to_bytes(4, "big")

    def _peer(self, word: str, index: int) -> None:
        if "peer" in self.given:
            raise Invalid(f"a second peer, {word}", index)
        text, _, length = word.partition("/")
        packed = address(text, index)
        if len(packed) != len(self.packed):
            raise Invalid(f"the peer {text} is of the other family", index)
        bits = len(packed) * 8
        prefixlen = prefix_length(length, bits, index) if length else bits
        was, self.prefixlen = self.prefixlen, prefixlen
        self.given["peer"] = packed
        if self.said and was != bits:
            raise Invalid(f"/{was} at the address, but with a peer the prefix is the peer's", 0, f"peer {text}/{was}")

    def _preferred(self, word: str, index: int) -> None:
        value = FOREVER if word == "forever" else integer(word, index=index)
        if not 0 <= value <= FOREVER:
            raise Invalid(f"{word} is outside 0..{FOREVER}", index, "or 'forever'")
        self.given["preferred"] = value

    def _track_group(self, word: str, index: int) -> None:
        if self.track_group:
            raise Invalid(f"a second track_group, {word}", index)
        self.track_group = word


_WITH_VALUE: dict[str, Callable[[_Options, str, int], None]] = {
    "dev": _Options._dev,
    "label": _Options._label,
    "scope": _Options._scope,
    "brd": _Options._brd,
    "broadcast": _Options._brd,
    "peer": _Options._peer,
    "preferred_lft": _Options._preferred,
    "track_group": _Options._track_group,
}


def scope(word: str, index: int) -> int:
    """The number of a scope by its name, or 0..255."""
    if word in SCOPES:
        return SCOPES[word]
    if word.isdigit() and word.isascii() and int(word[:4]) < 256:
        return int(word)
    raise Invalid(f"'{word}' is no scope", index, f"one of {', '.join(SCOPES)} or 0..255")


def _meant(word: str) -> str:
    import difflib  # only a mistake pays for it

    if word[:1].isdigit():
        return "one address a line"
    known = {*_WITH_VALUE, *FLAGS, "-nodad", "no_track", "use_vmac"}
    near = difflib.get_close_matches(word, sorted(known), 1) if word not in known else ()  # only not at this place
    return f"did you mean '{near[0]}'?" if near else ""
