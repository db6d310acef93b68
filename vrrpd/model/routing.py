"""A line of virtual_routes, static_routes, virtual_rules or static_rules: the grammar of ip-route(8) and ip-rule(8).

    [unicast|blackhole|...] [to] PREFIX [from PREFIX] [via [inet|inet6] ADDRESS] [dev IF] [src ADDRESS] [table T]
        [metric N] [scope S] [protocol P] [tos T] [onlink] [encap ...] [mtu [lock] N ...] [append|add|prepend]
        [vrf NAME] [no_track] [nexthop [via ADDRESS] [dev IF] [weight N] [onlink] [realms R] [encap ...]]...
    [not] [from PREFIX] [to PREFIX] [iif IF] [oif IF] [fwmark N[/MASK]] [tos T] [uidrange A-B] [ipproto P]
        [sport A-B] [dport A-B] [suppress_prefixlength N] [suppress_ifgroup G] [realms R] [preference N] [no_track]
        table T | goto N | nop | l3mdev | blackhole | unreachable | prohibit
    static: [track_group NAME]

In: words. Out: the compiled entry, and what should be said about it. Names of tables and the like are resolved here,
once; interfaces stay names, because they come and go. The packing is that of net/routes.py and net/rules.py.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vrrpd.conf.source import Problems
from vrrpd.conf.tree import Statement
from vrrpd.conf.types import Invalid, address, interface_name, prefix_length
from vrrpd.families import AF_INET, AF_INET6
from vrrpd.net import routes, rules
from vrrpd.net.netlink import NLM_F_EXCL, attribute
from vrrpd.net.routing import ROUTE, RTPROT_KEEPALIVED, RULE

from .iproute2 import Names, numeric
from .values import Routing

U8, U32 = 0xFF, 0xFFFFFFFF
NLM_F_APPEND = 0x800

TYPES = {
    "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7,
    "prohibit": 8, "throw": 9, "nat": 10,
}  # fmt: skip
WITHOUT_WAY = frozenset({6, 7, 8, 9})
MODES = {"add": NLM_F_EXCL, "append": NLM_F_APPEND, "prepend": 0}
PREF = {"medium": 0, "high": 1, "low": 3}  # linux/icmpv6.h ICMPV6_ROUTER_PREF_*

# linux/rtnetlink.h RTAX_*: the number, whether `lock` may precede the value, and the most that it may be.
METRICS = {
    "mtu": (2, True, U32), "window": (3, False, U32), "rtt": (4, True, 8), "rttvar": (5, True, 4),
    "ssthresh": (6, True, U32), "cwnd": (7, True, U32), "advmss": (8, True, U32), "reordering": (9, True, U32),
    "hoplimit": (10, False, U8), "initcwnd": (11, False, U32), "features": (12, False, U32), "rto_min": (13, True, 1),
    "initrwnd": (14, False, U32), "quickack": (15, False, 1), "congctl": (16, True, U32),
    "fastopen_no_cookie": (17, False, 1),
}  # fmt: skip
TIMES = frozenset({"rtt", "rttvar", "rto_min"})  # the third value above: into how many parts the kernel divides 1 ms
FEATURES = {"ecn": 1}

ACTIONS = {"blackhole": 6, "unreachable": 7, "prohibit": 8}
# The names that people write; /etc/protocols has the others, and a small node may not have that file.
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "ipv6-icmp": 58, "sctp": 132, "udplite": 136}


class Parsed(NamedTuple):
    """`notes`: (word, message, hint) of what is taken otherwise than it is written."""

    entry: Routing
    family: int
    notes: Sequence[tuple[int, str, str]]
    track_group: str = ""


class _Line:
    """Words to be taken one by one."""

    def __init__(self, words: Sequence[str], names: Names, static: bool) -> None:
        self.words, self.names, self.static = words, names, static
        self.index = 0
        self.family = 0
        self.notes: list[tuple[int, str, str]] = []
        self.no_track = False
        self.track_group = ""
        self.protocol = RTPROT_KEEPALIVED
        self.protocol_at = 0

    @property
    def word(self) -> str:
        return self.words[self.index]

    @property
    def more(self) -> bool:
        return self.index < len(self.words)

    def value(self) -> str:
        """The word behind the present one."""
        if self.index + 1 >= len(self.words):
            raise Invalid(f"'{self.word}' needs a value", self.index)
        self.index += 1
        return self.word

    def of_family(self, family: int) -> None:
        if self.family not in (0, family):
            if not set(self.word) & set(".:"):  # a value whose keyword decides
                raise Invalid(f"'{self.words[self.index - 1]}' belongs to {_ip(family)}", self.index - 1)
            raise Invalid(f"'{self.word}' is {_ip(family)}, what stands before it {_ip(self.family)}", self.index)
        self.family = family

    def address(self) -> bytes:
        packed = address(self.value(), self.index)
        self.of_family(AF_INET if len(packed) == 4 else AF_INET6)
        return packed

    def prefix(self, word: str) -> tuple[bytes, int]:
        """Address and length; b"" for everything."""
        if word in ("default", "all", "any"):
            return b"", 0
        text, _, length = word.partition("/")
        packed = address(text, self.index)
        bits = len(packed) * 8
        size = prefix_length(length, bits, self.index) if length else bits
        self.of_family(AF_INET if bits == 32 else AF_INET6)
        return (packed, size) if size else (b"", 0)

    def number(self, most: int, least: int = 0) -> int:
        return numeric(self.value(), self.index, most, least)

    def named(self, table: str, most: int, what: str) -> int:
        return self.names.number(table, self.value(), self.index, most, what)

    def realms(self) -> int:
        source, slash, to = self.value().partition("/")
        self.of_family(AF_INET)
        if not slash:
            source, to = "0", source
        high, low = (self.names.number("rt_realms", word, self.index, 0xFFFF, "realm") for word in (source, to))
        return high << 16 | low

    def dsfield(self) -> int:
        """keepalived reads a bare number as decimal, where ip(8) reads it as hexadecimal."""
        return self.named("rt_dsfield", U8, "tos")

    def common(self) -> bool:
        """What routes and rules have both; false where the present word is none of it."""
        word = self.word
        if word in ("inet", "inet6"):
            self.of_family(AF_INET6 if word == "inet6" else AF_INET)
        elif word == "no_track":
            self.no_track = True
        elif word == "track_group" and self.static:
            if self.track_group:
                raise Invalid(f"a second track_group, {self.value()}", self.index)
            self.track_group = self.value()
        elif word in ("protocol", "proto"):
            self.protocol = self.named("rt_protos", U8, "protocol")
            self.protocol_at = self.index
        else:
            return False
        return True

    def judged_protocol(self) -> int:
        """keepalived knows its own by the protocol, and so does `ip route show proto keepalived`."""
        if not self.no_track and self.protocol != RTPROT_KEEPALIVED:
            word = self.words[self.protocol_at]
            message = f"its protocol is keepalived ({RTPROT_KEEPALIVED}), not {word}: that is how it is recognized"
            self.notes.append((self.protocol_at, message, f"'no_track' leaves it at {word}, and alone"))
            return RTPROT_KEEPALIVED
        return self.protocol


def _ip(family: int) -> str:
    return "IPv4" if family == AF_INET else "IPv6"


def as_text(words: Sequence[str]) -> str:
    """As it was written, without what only keepalived and we understand."""
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word not in ("no_track", "track_group"):
            kept.append(word)
        skip = word == "track_group"
    return " ".join(kept)


# ---------------------------------------------------------------------------------------------------------- routes
class _RouteLine(_Line):
    def __init__(self, words: Sequence[str], names: Names, static: bool) -> None:
        super().__init__(words, names, static)
        self.given: dict[str, Any] = {}
        self.way: dict[str, Any] = {}
        self.hops: list[routes.Nexthop] = []
        self.metrics: dict[int, bytes] = {}
        self.lock = 0
        self.mode = 0

    def read(self) -> Parsed:
        while self.more:
            word = self.word
            if word == "nexthop":
                self._nexthops()
                break
            handler = _ROUTE.get(word)
            if handler is not None:
                handler(self)
            elif word in METRICS:
                self._metric(word)
            elif word in MODES:
                self.mode = MODES[word]
            elif not self.common() and not self._hop_option(self.way):
                self._destination(word)
            self.index += 1
        return self._packed()

    def _packed(self) -> Parsed:
        if "dst" not in self.given:
            raise Invalid("the route has no destination", 0, "say 'default' or a prefix")
        kind = self.given.get("type", routes.RTN_UNICAST)
        if kind in WITHOUT_WAY and (self.way or self.hops):
            raise Invalid(f"a {self._type_name(kind)} route leads nowhere: no via, dev or nexthop", 0)
        if kind not in WITHOUT_WAY and not self.way and not self.hops:
            raise Invalid("the route leads nowhere", 0, "give 'via' or 'dev', or say 'blackhole'")
        family = self.family or AF_INET
        self._masked(family)
        hops = tuple(self.hops) or ((routes.Nexthop(**self.way),) if self.way else ())
        route = routes.Route(
            family,
            protocol=self.judged_protocol(),
            hops=hops,
            metrics=tuple(sorted(self.metrics.items())),
            lock=self.lock,
            **self.given,
        )
        if family == AF_INET6:
            route = route._replace(scope=None, tos=0)
        body, holes = routes.pack(route)
        entry = Routing(ROUTE, as_text(self.words), body, holes, self.mode, self.no_track)
        return Parsed(entry, family, self.notes, self.track_group)

    def _type_name(self, kind: int) -> str:
        return next(name for name, number in TYPES.items() if number == kind)

    def _masked(self, family: int) -> None:
        """The kernel refuses an IPv4 destination with host bits, and drops those of an IPv6 one."""
        packed, length = self.given["dst"], self.given["dst_len"]
        if not packed:
            return
        bits = len(packed) * 8
        kept = int.from_bytes(packed, "big") >> (bits - length) << (bits - length)
        network = kept.to_bytes(len(packed), "big")
        if network != packed:
            shown = f"{socket.inet_ntop(family, network)}/{length}"
            self.notes.append((self.given_at, f"it has host bits, the route is to {shown}", f"write {shown}"))
            self.given["dst"] = network

    def _destination(self, word: str) -> None:
        if word == "to":
            word = self.value()
        if word in TYPES:
            if "type" in self.given:
                raise Invalid(f"a second type, '{word}'", self.index)
            self.given["type"] = TYPES[word]
            return
        if "dst" in self.given:
            raise Invalid(f"'{word}' is no option of a route", self.index)
        if not re.match(r"[0-9a-fA-F:]*[.:/0-9]", word) and word not in ("default", "all", "any"):
            raise Invalid(f"'{word}' is no option of a route", self.index)
        self.given["dst"], self.given["dst_len"] = self.prefix(word)
        self.given_at = self.index

    def _hop_option(self, way: dict[str, Any]) -> bool:
        """What a route and each of several next hops have; false where the present word is none of it."""
        word = self.word
        if word in ("via", "gw"):
            if word == "gw":
                self.notes.append((self.index, "'gw' is an old word", "write 'via'"))
            way["gateway"] = self._gateway()
        elif word in ("dev", "oif"):
            if "dev" in way:
                raise Invalid(f"a second interface, {self.value()}", self.index)
            way["dev"] = interface_name(self.value(), self.index)
        elif word == "onlink":
            way["onlink"] = True
        elif word == "realms":
            way["realms"] = self.realms()
        elif word == "encap":
            way["encap"] = self._encap()
        else:
            return False
        return True

    def _gateway(self) -> bytes:
        """`via inet6` leads an IPv4 route over an IPv6 neighbour (RFC 5549)."""
        word = self.value()
        if word not in ("inet", "inet6"):
            packed = address(word, self.index)
            self.of_family(AF_INET if len(packed) == 4 else AF_INET6)
            return packed
        packed = address(self.value(), self.index)
        if len(packed) != (16 if word == "inet6" else 4):
            raise Invalid(f"'{self.word}' is not {_ip(AF_INET6 if word == 'inet6' else AF_INET)}", self.index)
        if word == "inet":
            self.of_family(AF_INET)
        return packed

    def _or(self) -> None:
        """keepalived's old form of two next hops."""
        self.notes.append((self.index, "'or' is an old word", "write 'nexthop via A nexthop via B'"))
        if self.hops or "gateway" not in self.way:
            raise Invalid("'or' stands once, behind 'via'", self.index)
        first = self.way.pop("gateway")
        self.hops = [routes.Nexthop(first), routes.Nexthop(self.address())]

    def _nexthops(self) -> None:
        if self.hops or self.way:
            raise Invalid("'nexthop' beside 'via', 'dev' or 'or'", self.index, "put each way into a nexthop of its own")
        while self.more:
            if self.word != "nexthop":
                raise Invalid(f"'{self.word}' is no option of a nexthop", self.index, "options of the route come first")
            way: dict[str, Any] = {}
            self.index += 1
            while self.more and self.word != "nexthop":
                if self.word == "weight":
                    way["weight"] = self.number(256, 1)
                elif self.word in ("no_track", "track_group"):
                    self.common()
                elif not self._hop_option(way):
                    raise Invalid(
                        f"'{self.word}' is no option of a nexthop", self.index, "options of the route come first"
                    )
                self.index += 1
            if not way.get("gateway") and not way.get("dev"):
                raise Invalid("the nexthop leads nowhere: neither via nor dev", self.index - 1)
            self.hops.append(routes.Nexthop(**way))

    def _metric(self, word: str) -> None:
        number, lockable, most = METRICS[word]
        text = self.value()
        if text == "lock" and lockable:
            self.lock |= 1 << number
            text = self.value()
        if word == "congctl":
            if not re.fullmatch(r"[\w-]{1,15}", text):
                raise Invalid(f"'{text}' is no congestion control algorithm", self.index)
            self.metrics[number] = text.encode() + b"\0"
            return
        if word in TIMES:
            value = self._time(text, most)
        elif word == "features":
            if text not in FEATURES:
                raise Invalid(f"there is no feature '{text}'", self.index, f"one of {', '.join(FEATURES)}")
            value = FEATURES[text]
        else:
            value = numeric(text, self.index, most)
        self.metrics[number] = value.to_bytes(4, "little" if _LITTLE else "big")

    def _time(self, text: str, scale: int) -> int:
        """Milliseconds with a unit, a bare number counts in the kernel's fraction of one (ip-route(8))."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|sec|secs|ms|msec|msecs)?", text)
        if match is None:
            raise Invalid(f"'{text}' is no time", self.index, "milliseconds, or with 's' or 'ms' behind the number")
        value = float(match[1]) * (1000 if (match[2] or "").startswith("s") else 1)
        value = round(value) * scale if match[2] else round(value)
        if value > U32:
            raise Invalid(f"{text} is too long", self.index)
        return int(value)

    def _encap(self) -> tuple[int, bytes]:
        kind = self.value()
        if kind == "mpls":
            return 1, self._mpls()
        if kind in ("ip", "ip6"):
            return (2 if kind == "ip" else 4), self._tunnel(kind)
        if kind == "ila":
            words = self.value().split(":")
            if len(words) != 4 or not all(re.fullmatch(r"[0-9a-fA-F]{1,4}", word) for word in words):
                raise Invalid(f"'{self.word}' is no locator", self.index, "64 bits as A:B:C:D")
            return 3, attribute(1, b"".join(int(word, 16).to_bytes(2, "big") for word in words))
        raise Invalid(f"encap '{kind}' is not supported", self.index, "mpls, ip, ip6 or ila")

    def _mpls(self) -> bytes:
        """A stack of labels (RFC 3032 2.1), the last one marked."""
        labels = [numeric(label, self.index, (1 << 20) - 1) for label in self.value().split("/")]
        stack = b"".join(
            (label << 12 | (256 if place == len(labels) - 1 else 0)).to_bytes(4, "big")
            for place, label in enumerate(labels)
        )
        found = attribute(1, stack)
        if self.words[self.index + 1 : self.index + 2] == ["ttl"]:
            self.index += 1
            found += attribute(2, bytes([self.number(U8)]))
        return found

    def _tunnel(self, kind: str) -> bytes:
        """linux/lwtunnel.h LWTUNNEL_IP_* and LWTUNNEL_IP6_*, the same numbers."""
        size = 4 if kind == "ip" else 16
        numbers = {"id": 1, "dst": 2, "src": 3, "ttl": 4, "hoplimit": 4, "tos": 5, "tc": 5}
        found: dict[int, bytes] = {}
        while self.index + 1 < len(self.words) and self.words[self.index + 1] in numbers:
            self.index += 1
            word = self.word
            if word == "id":
                found[1] = numeric(self.value(), self.index, (1 << 64) - 1).to_bytes(8, "big")
            elif word in ("dst", "src"):
                packed = address(self.value(), self.index)
                if len(packed) != size:
                    raise Invalid(f"'{self.word}' is not {'IPv4' if size == 4 else 'IPv6'}", self.index)
                found[numbers[word]] = packed
            else:
                found[numbers[word]] = bytes([self.dsfield() if word in ("tos", "tc") else self.number(U8)])
        if not found:
            raise Invalid(f"encap {kind} without options", self.index, "id, dst, src, ttl, tos")
        return b"".join(attribute(number, value) for number, value in sorted(found.items()))

    def _prefsrc(self) -> None:
        self.given["prefsrc"] = self.address()

    def _source(self) -> None:
        self.given["src"], self.given["src_len"] = self.prefix(self.value())
        self.of_family(AF_INET6)

    def _six(self, name: str, value: int) -> None:
        self.of_family(AF_INET6)
        self.given[name] = value

    def _preference(self) -> None:
        word = self.value()
        self._six("pref", PREF[word] if word in PREF else numeric(word, self.index, U8))

    def _propagate(self) -> None:
        word = self.value()
        if word not in ("enabled", "disabled"):
            raise Invalid(f"'{word}' is neither enabled nor disabled", self.index)
        self.given["ttl_propagate"] = int(word == "enabled")

    def _vrf(self) -> None:
        self.given["table"] = self.names.vrf(self.value(), self.index)

    def _set(self, name: str, value: int) -> None:
        self.given[name] = value


_LITTLE = routes._U32.pack(1)[0] == 1

_ROUTE: dict[str, Callable[[_RouteLine], None]] = {
    "src": _RouteLine._prefsrc,
    "from": _RouteLine._source,
    "or": _RouteLine._or,
    "vrf": _RouteLine._vrf,
    "pref": _RouteLine._preference,
    "ttl-propagate": _RouteLine._propagate,
    "expires": lambda line: line._six("expires", line.number(U32)),
    "table": lambda line: line._set("table", line.named("rt_tables", U32, "routing table")),
    "scope": lambda line: line._set("scope", line.named("rt_scopes", U8, "scope")),
    **dict.fromkeys(("tos", "dsfield"), lambda line: line._set("tos", line.dsfield())),
    **dict.fromkeys(("metric", "priority", "preference"), lambda line: line._set("priority", line.number(U32))),
}


def route(words: Sequence[str], names: Names, static: bool = False) -> Parsed:
    """One line of virtual_routes or static_routes; raises Invalid."""
    return _RouteLine(words, names, static).read()


# ----------------------------------------------------------------------------------------------------------- rules
class _RuleLine(_Line):
    def __init__(self, words: Sequence[str], names: Names, static: bool) -> None:
        super().__init__(words, names, static)
        self.given: dict[str, Any] = {}
        self.lookup = ""  # which word needs a table to look into

    def read(self, otherwise: Callable[[int], int]) -> Parsed:
        while self.more:
            handler = _RULE.get(self.word)
            if handler is not None:
                handler(self)
            elif not self.common():
                self._action(self.word)
            self.index += 1
        return self._packed(otherwise)

    def _packed(self, otherwise: Callable[[int], int]) -> Parsed:
        given = self.given
        if "action" not in given:
            raise Invalid(
                "the rule does nothing", 0, "say 'table NAME', or goto, nop, blackhole, unreachable, prohibit"
            )
        if self.lookup and given["action"] != rules.FR_ACT_TO_TBL:
            raise Invalid(f"'{self.lookup}' belongs to a rule with a table", self.words.index(self.lookup))
        family = self.family or AF_INET
        target = given.get("goto")
        if target is not None and given.get("priority", target) >= target:
            raise Invalid(f"goto {target} needs a preference below {target}", self.words.index("goto"))
        if "priority" not in given:
            given["priority"] = otherwise(family)
        rule = rules.Rule(family, protocol=self.judged_protocol(), **given)
        entry = Routing(RULE, as_text(self.words), rules.pack(rule), no_track=self.no_track)
        return Parsed(entry, family, self.notes, self.track_group)

    def _to(self, field: str, action: int, value: int) -> None:
        self._act(action)
        self.given[field] = value

    def _act(self, action: int) -> None:
        if "action" in self.given:
            raise Invalid(
                f"'{self.word}' is a second thing to do", self.index, "one of table, goto, nop, blackhole ..."
            )
        self.given["action"] = action

    def _table(self) -> None:
        number = self.named("rt_tables", U32, "routing table")
        if not number:
            raise Invalid("there is no table 0", self.index)
        self._to("table", rules.FR_ACT_TO_TBL, number)

    def _action(self, word: str) -> None:
        if word == "type":
            word = self.value()
        if word == "goto":
            self._to("goto", rules.FR_ACT_GOTO, self.number(U32, 1))
        elif word == "nop":
            self._act(rules.FR_ACT_NOP)
        elif word in ACTIONS:
            self._act(ACTIONS[word])
        else:
            hint = "keepalived knows it as 'preference'" if word in ("pref", "prio", "order") else ""
            raise Invalid(f"'{word}' is no option of a rule", self.index, hint)

    def _prefix(self, name: str) -> None:
        if f"{name}_len" in self.given:
            raise Invalid(f"a second '{self.word}'", self.index)
        self.given[name], self.given[f"{name}_len"] = self.prefix(self.value())

    def _mark(self) -> None:
        mark, slash, mask = self.value().partition("/")
        self.given["fwmark"] = numeric(mark, self.index, U32)
        if slash:
            self.given["fwmask"] = numeric(mask, self.index, U32)

    def _interface(self, field: str) -> None:
        self.given[field] = interface_name(self.value(), self.index)

    def _range(self, field: str, most: int) -> None:
        first, dash, last = self.value().partition("-")
        low = numeric(first, self.index, most)
        high = numeric(last, self.index, most) if dash else low
        if high < low:
            raise Invalid(f"{self.word} ends before it begins", self.index)
        self.given[field] = low, high

    def _ip_proto(self) -> None:
        word = self.value().lower()
        if word in PROTOCOLS:
            self.given["ip_proto"] = PROTOCOLS[word]
            return
        try:
            self.given["ip_proto"] = (
                numeric(word, self.index, U8) if word[:1].isdigit() else socket.getprotobyname(word)
            )
        except OSError:
            raise Invalid(f"there is no protocol '{word}' in /etc/protocols", self.index) from None

    def _look(self, field: str, value: int) -> None:
        self.lookup = self.lookup or self.words[self.index - 1]
        self.given[field] = value

    def _l3mdev(self) -> None:
        self._act(rules.FR_ACT_TO_TBL)
        self.given["l3mdev"] = True

    def _set(self, name: str, value: int | bool) -> None:
        self.given[name] = value


_RULE: dict[str, Callable[[_RuleLine], None]] = {
    "from": lambda line: line._prefix("src"),
    "to": lambda line: line._prefix("dst"),
    "not": lambda line: line._set("invert", True),
    "fwmark": _RuleLine._mark,
    "oif": lambda line: line._interface("oif"),
    "uidrange": lambda line: line._range("uids", U32),
    "sport": lambda line: line._range("sport", 0xFFFF),
    "dport": lambda line: line._range("dport", 0xFFFF),
    "l3mdev": _RuleLine._l3mdev,
    "tunnel-id": lambda line: line._set("tunnel_id", line.number((1 << 64) - 1, 1)),
    "realms": lambda line: line._look("realms", line.realms()),
    **dict.fromkeys(("iif", "dev"), lambda line: line._interface("iif")),
    **dict.fromkeys(("table", "lookup"), _RuleLine._table),
    **dict.fromkeys(("preference", "order", "priority"), lambda line: line._set("priority", line.number(U32))),
    **dict.fromkeys(("tos", "dsfield"), lambda line: line._set("tos", line.dsfield())),
    **dict.fromkeys(("ipproto", "ip_proto"), _RuleLine._ip_proto),
    **dict.fromkeys(
        ("suppress_prefixlength", "sup_pl"), lambda line: line._look("suppress_prefixlen", line.number(0x7FFFFFFF))
    ),
    **dict.fromkeys(
        ("suppress_ifgroup", "sup_group"), lambda line: line._look("suppress_group", line.named("group", U32, "group"))
    ),
}


def rule(words: Sequence[str], names: Names, static: bool, otherwise: Callable[[int], int]) -> Parsed:
    """One line of virtual_rules or static_rules; `otherwise` gives the preference of one that has none."""
    return _RuleLine(words, names, static).read(otherwise)


# ------------------------------------------------------------------------------------------------------------ files
FIRST_PREFERENCE = 16384  # of rules that have none: counted down from here, as keepalived does


class Compiler:
    """All routes and rules of one file."""

    def __init__(self, names: Names, problems: Problems) -> None:
        self._names, self._problems = names, problems
        self._next = dict.fromkeys((AF_INET, AF_INET6), FIRST_PREFERENCE)

    def compiled(self, keyword: str, statements: Sequence[Statement]) -> list[tuple[Parsed, Statement]]:
        """Of virtual_routes and its like; what is wrong with a line is reported, and the line left out."""
        found = []
        for statement in statements:
            try:
                parsed = self._line(keyword, statement)
            except Invalid as invalid:
                place = statement.place(invalid.index)
                self._problems.survivable(place, f"{keyword}: {invalid.message}", invalid.hint)
                continue
            for index, message, hint in parsed.notes:
                self._problems.warning(statement.place(index), f"{keyword}: {message}", hint)
            found.append((parsed, statement))
        return found

    def _line(self, keyword: str, statement: Statement) -> Parsed:
        static = keyword.startswith("static")
        if keyword.endswith("routes"):
            return route(statement.words, self._names, static)
        return rule(statement.words, self._names, static, lambda family: self._preference(keyword, statement, family))

    def _preference(self, keyword: str, statement: Statement, family: int) -> int:
        number = self._next[family]
        self._next[family] -= 1
        hint = f"keepalived would take {number}: write 'preference {number}', or the one that is meant"
        self._problems.survivable(statement.place(), f"{keyword}: the rule has no preference", hint)
        return number
