"""One vrrp_instance, resolved: defaults and inheritance filled in, the limits of its version, family and kind.

In: a bound block, the global defaults. Out: a VrrpInstance, findings at the word that causes them. What instances are
to each other is validate.py's, what they need of the machine machine.py's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from vrrpd.conf.schema import Bound
from vrrpd.conf.source import Place, Problems
from vrrpd.families import AF_INET, AF_INET6, link_local

from .blocks import BLOCKS
from .globals import GlobalDefs
from .routing import Compiler
from .trackers import OWNER, Definitions
from .values import FILE, INTERFACE, PROCESS, SCRIPT, VirtualAddress
from .vrrp import HMAC_KEY_HINT, Authentication, AuthHmac, UnicastPeer, VrrpInstance

INHERITED = {
    row.field: row.inherits for row in BLOCKS["vrrp_instance"].keywords.values() if row.inherits and row.supported
}
# What strict mode sets, and what it says where an instance wants it otherwise.
STRICT: Mapping[str, tuple[Any, str]] = {
    "preempt_delay": (0.0, "no delay"),
    "garp_lower_prio_repeat": (0, "no announcements after a lower advert"),
    "garp_lower_prio_delay": (0.0, "no announcements after a lower advert"),
    "lower_prio_no_advert": (True, "a lower advert is not answered"),
    "higher_prio_send_advert": (False, "no advert before yielding"),
    "down_timer_adverts": (3, "three adverts"),
    "vmac_xmit_base": (False, "adverts come from the virtual MAC address"),
}
KEY_HINT = "the same key on both nodes: openssl rand -hex 32"
WITHOUT_INTERFACE = ("unicast_src_ip", "unicast_peer")  # what an instance needs that has no interface
UNICAST = ("unicast_peer", "unicast_src_ip", "unicast_ttl", "check_unicast_src", "old_unicast_checksum")
USUAL_MTU = 1500
OVERHEAD = {AF_INET: 20 + 24 + 8 + 8, AF_INET6: 40 + 8}  # of IP header, AH, VRRP header, authentication data
TRAILER = 28  # of auth_hmac
MAX_ADVERT_V3 = 40.95  # RFC 9568 5.2.7: 12 bits of centiseconds


class Surroundings(NamedTuple):
    """What the instances of a file share: this machine's, and what is handed out one by one."""

    mtus: Mapping[str, int]
    routing: Compiler
    trackers: Definitions


class Instance:
    """Resolves one vrrp_instance. Every rule is a method that may change `values` and report."""

    def __init__(self, bound: Bound, defs: GlobalDefs, problems: Problems, around: Surroundings) -> None:
        self.bound = bound
        self.around = around
        self.defs = defs
        self.problems = problems
        self.values: dict[str, Any] = {"name": bound.name, **bound.values}
        for name, source in INHERITED.items():
            if name not in self.values:
                self.values[name] = getattr(defs, source)

    def at(self, keyword: str, index: int = 0) -> Place:
        """Where a keyword stands, else the instance's name."""
        statement = self.bound.places.get(keyword)
        return statement.place(index) if statement else self.bound.statement.place(1)

    def resolved(self) -> VrrpInstance:
        self._required()
        self._interface()
        self._addresses()
        self._version()
        self._election()
        self._strict()
        self._auth_hmac()
        self._authentication()
        self._destinations()
        self._without_interface()
        self._virtual_interface()
        self._second_path()
        self._tracks()
        self._accept()
        self._buffer()
        self._routing()
        self.values["garp_interval"] = self.defs.vrrp_garp_interval
        self.values["gna_interval"] = self.defs.vrrp_gna_interval
        return VrrpInstance(**self.values)

    def _required(self) -> None:
        for name in ("interface", "virtual_router_id"):
            if name in self.values or (name == "interface" and self._needs_no_interface()):
                continue
            if name in self.bound.tried and not self.problems.lenient:
                self.problems.fatal = True  # what is wrong with it has been said
                continue
            half = name == "interface" and any(self.values.get(field) for field in ("vrf", *WITHOUT_INTERFACE))
            hint = "without it an instance needs unicast_src_ip and unicast_peer" if half else ""
            self.problems.error(self.at(""), f"vrrp_instance {self.bound.name}: '{name}' is missing", hint)
        if self.values.get("interface") == "lo":
            self.problems.error(self.at("interface", 1), "interface: VRRP cannot run on the loopback interface")

    def _needs_no_interface(self) -> bool:
        """What is wrong with an address has been said."""
        return "interface" not in self.bound.tried and self.bound.tried.issuperset(WITHOUT_INTERFACE)

    def _interface(self) -> None:
        """A VRF is the interface of who has none: sockets are bound to it, it must be up. Addresses lie elsewhere."""
        values = self.values
        if not self._needs_no_interface():
            if "vrf" in values and "interface" in self.bound.tried:
                message = "vrf: the instance has an interface, which says itself what VRF it is in"
                self.problems.survivable(self.at("vrf"), message, "remove this line, or 'interface'")
            values.pop("vrf", None)
            return
        values["interface"] = values.get("vrf", "")
        default = self.defs.default_interface
        told = default != GlobalDefs.default_interface
        for field in ("virtual_ipaddress", "virtual_ipaddress_excluded"):
            for item, statement in zip(values.get(field, ()), self.bound.items.get(field, ())):
                if not item.dev and not told:
                    message = f"{field}: {statement.words[0]} would lie on {default}, the instance has no interface"
                    self.problems.warning(statement.place(), message, f"say 'dev {default}' behind it, or where")
                    told = True
            if field in values:
                values[field] = [item if item.dev else item._replace(dev=default) for item in values[field]]

    def _without_interface(self) -> None:
        """Unicast only, and nothing that needs to know by which interface."""
        if not self._needs_no_interface():
            return
        values, needed = self.values, "without it the instance needs an interface"
        if "vmac" in values:
            statement = self.bound.places["vmac"]
            message = f"{statement.words[0]}: there is no interface to put one on"
            self.problems.survivable(statement.place(), message, "give the interface, or remove this line")
            del values["vmac"]
        gone = [field for field in WITHOUT_INTERFACE if not values.get(field)]
        if gone and (self.problems.lenient or values.get("unicast_fault_no_peer")):
            self.problems.error(self.at(gone[0]), f"{gone[0]}: nothing is left of it, and {needed}")
        local = [self.bound.places["unicast_src_ip"].place(1)] if link_local(values.get("unicast_src_ip")) else []
        for peer, statement in zip(self.bound.values.get("unicast_peer", ()), self.bound.items.get("unicast_peer", ())):
            if link_local(peer.address):
                local.append(statement.place())
        for place in local:
            message = "a link-local address is one on its interface, and the instance has none"
            self.problems.error(place, message, "give the interface, or another address")

    def _addresses(self) -> None:
        advertised = self._family_of_first(self._list("virtual_ipaddress"))
        self._list("virtual_ipaddress_excluded")
        if not advertised:
            self.values["family"] = self._family_without_addresses()
            if not self.values.get("no_virtual_ipaddress") and "virtual_ipaddress" not in self.bound.tried:
                message = f"vrrp_instance {self.bound.name}: no virtual_ipaddress"
                report = self.problems.survivable if self.values.get("version") == 3 else self.problems.warning
                report(self.at("virtual_ipaddress"), message, "if that is meant, say 'no_virtual_ipaddress'")
            return
        self.values["family"] = _family(advertised[0].address)
        seen: set[tuple[bytes, str]] = set()
        for field in ("virtual_ipaddress", "virtual_ipaddress_excluded"):
            kept, statements = [], []
            for item, statement in zip(self.values[field], self.bound.items.get(field, ())):
                if (item.address, item.dev) in seen:
                    self.problems.warning(statement.place(), f"{field}: {statement.words[0]} is given twice")
                    continue
                seen.add((item.address, item.dev))
                kept.append(item)
                statements.append(statement)
            self.values[field] = tuple(kept)
            self.bound.items[field] = statements
        self._too_many()
        first = self.values["virtual_ipaddress"][0].address
        if len(first) == 16 and not link_local(first):
            place = self.bound.items["virtual_ipaddress"][0].place()
            report, must = self.problems.warning, "should"
            if self.values["strict_mode"]:
                report, must = self.problems.survivable, "must"
            report(place, f"the first IPv6 address {must} be link-local (RFC 9568 5.2.9)")

    def _too_many(self) -> None:
        """What does not fit into an advert goes to the excluded addresses, as keepalived does."""
        addresses = self.values["virtual_ipaddress"]
        family, interface = self.values["family"], self.values.get("interface", "")
        mtu = self.around.mtus.get(interface, USUAL_MTU) - (TRAILER if self.values.get("auth_hmac") else 0)
        fit = (mtu - OVERHEAD[family]) // (4 if family == AF_INET else 16)
        most = max(1, min(255, fit))  # RFC 9568 5.2.5 counts to 255, but an advert must fit into one frame
        if len(addresses) <= most:
            return
        statements = self.bound.items["virtual_ipaddress"]
        where = f" on {interface} (mtu {mtu})" if fit < 255 and mtu != USUAL_MTU else ""
        message = f"virtual_ipaddress: {len(addresses)} addresses, an advert holds {most}{where}"
        self.problems.survivable(statements[most].place(), message, "move the rest to virtual_ipaddress_excluded")
        self.values["virtual_ipaddress"] = addresses[:most]
        self.values["virtual_ipaddress_excluded"] = addresses[most:] + self.values["virtual_ipaddress_excluded"]
        excluded = self.bound.items.get("virtual_ipaddress_excluded", [])
        self.bound.items["virtual_ipaddress_excluded"] = statements[most:] + excluded
        self.bound.items["virtual_ipaddress"] = statements[:most]

    def _list(self, field: str) -> list[Any]:
        values = self.values.get(field, ())
        self.values[field] = tuple(values)
        return list(values)

    def _family_of_first(self, addresses: list[VirtualAddress]) -> list[VirtualAddress]:
        """All addresses of an advert are of one family: the first decides."""
        same: list[VirtualAddress] = []
        statements = self.bound.items.get("virtual_ipaddress", [])
        kept = []
        for item, statement in zip(addresses, statements):
            if len(item.address) == len(addresses[0].address):
                same.append(item)
                kept.append(statement)
                continue
            message = f"{statement.words[0]} is not of the family of the first address"
            self.problems.survivable(
                statement.place(), f"virtual_ipaddress: {message}", "move it to virtual_ipaddress_excluded"
            )
        if statements:
            self.bound.items["virtual_ipaddress"] = kept
        self.values["virtual_ipaddress"] = tuple(same)
        return same

    def _family_without_addresses(self) -> int:
        for field in ("unicast_src_ip", "mcast_src_ip"):
            if self.values.get(field):
                return _family(self.values[field])
        peers = self.values.get("unicast_peer")
        return _family(peers[0].address) if peers else AF_INET

    def _version(self) -> None:
        values = self.values
        if values["family"] == AF_INET6:
            if "version" in self.bound.values and values["version"] == 2:
                self.problems.warning(self.at("version", 1), "version: IPv6 always runs VRRP version 3", "remove it")
            values["version"] = 3
        interval = values.get("advert_int", 1.0)
        if values["version"] == 2 and interval != int(interval):
            message = f"advert_int: {interval:g} s, but VRRPv2 counts in whole seconds"
            self.problems.survivable(
                self.at("advert_int", 1), message, "set 'version 3' on every node, or a whole number"
            )
            values["advert_int"] = float(max(1, int(interval + 0.5)))
        elif values["version"] == 3 and interval > MAX_ADVERT_V3:
            message = f"advert_int: {interval:g} is outside 0.01..{MAX_ADVERT_V3} of VRRPv3"
            self.problems.survivable(self.at("advert_int", 1), message)
            values["advert_int"] = MAX_ADVERT_V3
        elif values["version"] == 3:
            values["advert_int"] = int(interval * 100 + 0.5 + 1e-9) / 100
            decimals = self.bound.places["advert_int"].words[1].partition(".")[2] if interval % 1 else ""
            if abs(values["advert_int"] - interval) > 1e-9 and len(decimals) <= 6:  # else it has been said
                message = f"advert_int: {interval:g} s, but VRRPv3 counts in hundredths of a second"
                self.problems.survivable(self.at("advert_int", 1), message, f"{values['advert_int']:g} would be taken")

    def _election(self) -> None:
        values = self.values
        master = values.get("state") == "MASTER"
        if master and "priority" not in values:
            values["priority"] = 255  # observed with keepalived: state MASTER without priority is the owner
            self.problems.warning(self.at("state", 1), "state MASTER without 'priority' means priority 255")
        if "state" not in values:
            values["state"] = "MASTER" if values.get("priority") == 255 else "BACKUP"
        owner = values.get("priority") == 255
        if values["strict_mode"] and owner is not (values["state"] == "MASTER"):
            message = "state: in strict mode MASTER is who has priority 255, and nobody else"
            self.problems.survivable(self.at("state", 1), message, "leave it out: the priority says it")
            values["state"] = "MASTER" if owner else "BACKUP"
            master = owner
        if not values.get("preempt", True) and master:
            message = "nopreempt does not work with state MASTER"
            self.problems.survivable(self.at("preempt"), message, "set 'state BACKUP' on every node")
            values["preempt"] = True
        elif not values.get("preempt", True) and values.get("priority") == 255:
            message = "nopreempt does not work with priority 255: the owner always takes over"
            self.problems.survivable(self.at("preempt"), message, "give a lower priority")
            values["preempt"] = True
        if values.get("preempt_delay") and (master or not values.get("preempt", True)):
            reason = "state MASTER" if master else "nopreempt"
            self.problems.survivable(self.at("preempt_delay"), f"preempt_delay does not work with {reason}")
            values["preempt_delay"] = 0.0
        if values.get("timer_expired_backup") and values.get("preempt", True):
            message = "timer_expired_backup works with nopreempt only"
            self.problems.survivable(self.at("timer_expired_backup"), message, "say 'nopreempt' too, on every node")
            values["timer_expired_backup"] = 0

    def _strict(self) -> None:
        """strict_mode: what the RFCs do not have is refused, and with --lenient taken back, as keepalived does."""
        values = self.values
        if not values["strict_mode"]:
            return
        owner = values.get("priority") == 255
        if not values["virtual_ipaddress"]:  # keepalived does not even start
            self.problems.error(self.at("virtual_ipaddress"), "strict mode: there is no virtual_ipaddress")
        if values.get("authentication"):
            message = "authentication: there is none in strict mode (RFC 3768 10)"
            self.problems.survivable(self.at("authentication"), message, "remove the block on every node")
            del values["authentication"]
        if values.get("accept") and values["version"] == 2 and not owner:
            message = "accept: VRRPv2 has no such mode (RFC 3768 6.4.3), and strict mode does without"
            self.problems.survivable(self.at("accept"), message, "set 'version 3' on every node")
            del values["accept"]
        values.setdefault("accept", owner)
        for field, (wanted, why) in STRICT.items():
            if field in self.bound.values and values.get(field, wanted) != wanted:
                statement = self.bound.places[field]
                message = f"{statement.words[0]}: {why} in strict mode"
                self.problems.survivable(statement.place(), message, "remove it")
            values[field] = wanted
        if "owner_ignore_adverts" not in self.bound.values:
            values["owner_ignore_adverts"] = True  # RFC 5798 7.1: "if this router is the owner, discard"
        if values.get("unicast_peer"):
            message = "unicast_peer: strict mode is for RFC 9568, which knows no unicast; keepalived 2.4 refuses it"
            self.problems.warning(self.at("unicast_peer"), message)

    def _authentication(self) -> None:
        blocks: list[Bound] = self.values.pop("authentication", [])
        merged: dict[str, Any] = {}
        for bound in blocks:
            merged.update(bound.values)
        if not blocks:
            return
        last = blocks[-1]
        if self.values.get("auth_hmac"):
            message = "authentication beside auth_hmac: an instance has one or the other"
            self.problems.survivable(last.statement.place(), message, "remove authentication, once every node has HMAC")
            return
        tried = {keyword for bound in blocks for keyword in bound.tried}
        kind = merged.get("auth_type", "")
        if self.values["version"] == 3:
            self.problems.survivable(
                last.statement.place(),
                "authentication does not exist in VRRPv3 (RFC 9568 9)",
                "use auth_hmac on every node, or remove the block"
                + ("" if self.values["family"] == AF_INET6 else ", or set 'version 2'"),
            )
        elif not kind and "auth_type" in tried:
            return  # a bad value, reported
        elif merged.get("auth_pass") and not kind:
            message = "auth_pass without auth_type: adverts go without authentication"
            self.problems.warning(last.statement.place(), message, "add 'auth_type PASS'")
        elif kind and "auth_pass" in tried and "auth_pass" not in merged:
            return
        elif kind and not merged.get("auth_pass"):
            self.problems.survivable(last.statement.place(), "authentication: 'auth_pass' is missing")
        elif kind:
            self.values["authentication"] = Authentication(kind, merged["auth_pass"])

    def _auth_hmac(self) -> None:
        """Nothing is repaired that would leave adverts without HMAC where it is meant: that is fatal."""
        blocks: list[Bound] = self.values.pop("auth_hmac", [])
        if not blocks:
            return
        last = blocks[-1]
        values: dict[str, Any] = {}
        keys: dict[int, bytes] = {}
        for bound in blocks:
            values.update(bound.values)
            for (number, key), statement in zip(bound.values.get("keys", ()), bound.items.get("keys", ())):
                if number in keys:
                    message = f"key: {number} is given twice, the first one counts"
                    self.problems.survivable(statement.place(1), message, "a new key has an id of its own")
                keys.setdefault(number, key)
        tried = {keyword for bound in blocks for keyword in bound.tried}
        if not keys:
            if "keys" not in tried or self.problems.lenient:
                self.problems.error(last.statement.place(), "auth_hmac: 'key' is missing", HMAC_KEY_HINT)
            self.problems.fatal = True
            return
        active = values.get("active_key", 0)
        if not active and "active_key" not in tried and values.get("mode") == "receive-only":
            active = next(iter(keys))  # nothing is sent with it
        if not active:
            if "active_key" not in tried or self.problems.lenient:
                message = "auth_hmac: 'active_key' is missing"
                self.problems.error(last.statement.place(), message, f"add 'active_key {next(iter(keys))}'")
            self.problems.fatal = True
            return
        if active not in keys:
            said = next(bound.places["active_key"] for bound in reversed(blocks) if "active_key" in bound.places)
            self.problems.error(said.place(1), f"active_key: there is no key {active}", f"here are {_listed(keys)}")
            return
        if values.get("anti_replay") == "monotonic" and "time_window" in values:
            said = next(bound.places["time_window"] for bound in reversed(blocks) if "time_window" in bound.places)
            self.problems.warning(said.place(), "time_window does nothing with anti_replay monotonic")
        values.setdefault("time_window", math.ceil(max(3 * self.values.get("advert_int", 1.0), 5)))
        self.values["auth_hmac"] = AuthHmac(**{**values, "keys": tuple(keys.items()), "active_key": active})

    def _destinations(self) -> None:
        values = self.values
        peers: list[UnicastPeer] = self._list("unicast_peer")
        family = values["family"]
        for field in ("unicast_src_ip", "mcast_src_ip", "mcast_group"):
            if values.get(field) and _family(values[field]) != family:
                row = self.bound.places[field]
                self.problems.survivable(row.place(1), f"{row.words[0]}: {row.words[1]} is not {ipv(family)}")
                del values[field]
        kept, own = [], []
        for peer, statement in zip(peers, self.bound.items.get("unicast_peer", ())):
            if _family(peer.address) != family:
                self.problems.survivable(statement.place(), f"unicast_peer: {statement.words[0]} is not {ipv(family)}")
            elif peer.address == values.get("unicast_src_ip"):
                self.problems.warning(
                    statement.place(), f"unicast_peer: {statement.words[0]} is this node's own address"
                )
                own.append(peer)
            else:
                kept.append(peer)
        kept = kept or own  # a list of all nodes, and there is one: still no multicast
        keyword = next((name for name in UNICAST if name in self.bound.values), "")
        if kept:
            values.pop("unicast_fault_no_peer", None)
        elif values.get("unicast_fault_no_peer"):
            message = "no unicast_peer: the instance stays in FAULT (unicast_fault_no_peer)"
            self.problems.warning(self.at("unicast_fault_no_peer"), message)
        elif keyword:
            message = f"{keyword}, but no peer: adverts would go to the multicast group"
            self.problems.survivable(self.at(keyword), message, "list the other nodes in unicast_peer, or remove it")
        values["unicast_peer"] = tuple(peer.address for peer in kept)
        values["unicast_peer_ttl"] = tuple((peer.min_ttl, peer.max_ttl) for peer in kept)
        if any(bounds != (0, 255) for bounds in values["unicast_peer_ttl"]):
            values["check_unicast_src"] = True
        if "mcast_group" not in values:
            values["mcast_group"] = self.defs.vrrp_mcast_group4 if family == AF_INET else self.defs.vrrp_mcast_group6

    def _virtual_interface(self) -> None:
        values = self.values
        if values.get("vmac_xmit_base") and "vmac" not in values and "vmac" not in self.bound.tried:
            self.problems.warning(self.at("vmac_xmit_base"), "vmac_xmit_base does nothing without use_vmac")
        if values.get("vmac") and values["unicast_peer"] and not values.get("vmac_xmit_base"):
            message = "unicast adverts leave from the interface itself, with its own MAC address"
            self.problems.warning(self.at("vmac"), f"use_vmac: {message}", "say 'vmac_xmit_base' too")
            values["vmac_xmit_base"] = True

    def _tracks(self) -> None:
        interface, owner = self.values.get("interface", ""), self.values.get("priority") == OWNER
        for kind in (INTERFACE, SCRIPT, FILE, PROCESS):
            self.values[f"track_{kind}"] = self.around.trackers.tracks(self.bound, kind, interface, owner)

    def _second_path(self) -> None:
        """Without a key nobody would be believed; without a peer nobody is told."""
        peers = self._list("peer_path")
        self.values["peer_path"] = tuple(dict.fromkeys(peers))
        if peers and "peer_path_key" not in self.values:
            if "peer_path_key" not in self.bound.tried:
                self.problems.survivable(self.at("peer_path"), "peer_path without peer_path_key", KEY_HINT)
            self.values["peer_path"] = ()
        elif "peer_path_key" in self.values and not peers and "peer_path" not in self.bound.tried:
            self.problems.warning(self.at("peer_path_key"), "peer_path_key without peer_path: nobody is told anything")

    def _accept(self) -> None:
        """An owner answers for its addresses (RFC 9568 6.1: Accept_Mode is of those who are not)."""
        if not self.values.get("accept", True) and self.values.get("priority") == 255:
            self.problems.warning(self.at("accept"), "no_accept does nothing with priority 255, the owner's")
            self.values["accept"] = True

    def _buffer(self) -> None:
        """keepalived's vrrp_rx_bufs_policy, for whoever says nothing himself."""
        policy, times = self.defs.vrrp_rx_bufs_policy, self.defs.vrrp_rx_bufs_multiplier
        if "kernel_rx_buf_size" in self.values or policy is None:
            return
        if policy == "MTU":
            self.values["rx_buf_mtus"] = times
            return
        if policy == "ADVERT":
            header, width = (44, 4) if self.values["family"] == AF_INET else (48, 16)
            policy = times * (header + width * len(self.values["virtual_ipaddress"]))
        self.values["kernel_rx_buf_size"] = policy

    def _routing(self) -> None:
        for field in ("virtual_routes", "virtual_rules"):
            statements = self._list(field)
            compiled = self.around.routing.compiled(field, statements) if statements else ()
            self.values[field] = tuple(parsed.entry for parsed, _ in compiled)
            if statements:
                self.bound.items[field] = [statement for _, statement in compiled]


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _family(address: bytes) -> int:
    return AF_INET if len(address) == 4 else AF_INET6


def ipv(family: int) -> str:
    return "an IPv4 address" if family == AF_INET else "an IPv6 address"
