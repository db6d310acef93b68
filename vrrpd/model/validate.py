"""What values mean together: defaults and inheritance filled in, limits of the versions, clashes between instances.

In: bound blocks. Out: resolved dataclasses and findings at the word that causes them. `survivable` marks what
keepalived repairs on its own; with --lenient the same repair is made here.
"""

from __future__ import annotations

import dataclasses
import math
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from vrrpd.conf.schema import Binder, Bound
from vrrpd.conf.source import Place, Problems
from vrrpd.conf.tree import Statement
from vrrpd.families import AF_INET, AF_INET6
from vrrpd.net.vmac import vrf_tables

from . import statics, vmac
from .blocks import BLOCKS
from .globals import GlobalDefs
from .groups import for_members
from .groups import groups as sync_groups
from .interfaces import delays, garp_groups
from .iproute2 import Names
from .routing import Compiler
from .scripts import Script, for_a_shell, group_exists, insecure, program, user_exists
from .trackers import OWNER, Definitions, VrrpScript
from .values import FILE, INTERFACE, PROCESS, SCRIPT, VirtualAddress
from .vrrp import HMAC_KEY_HINT, Authentication, AuthHmac, UnicastPeer, VrrpInstance, link_local

Interfaces = Mapping[str, Iterable[tuple[bytes, int]]]  # name -> (address, prefix length)
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
DEFAULT_USER = "keepalived_script"  # keepalived.conf(5) "SCRIPTS": if there is such a user, else root
OUTSIDE = ("net_namespace", "instance", "child_wait_time")  # of global_defs, in the file
WITHOUT_INTERFACE = ("unicast_src_ip", "unicast_peer")  # what an instance needs that has no interface
UNICAST = ("unicast_peer", "unicast_src_ip", "unicast_ttl", "check_unicast_src", "old_unicast_checksum")
USUAL_MTU = 1500
OVERHEAD = {AF_INET: 20 + 24 + 8 + 8, AF_INET6: 40 + 8}  # of IP header, AH, VRRP header, authentication data
TRAILER = 28  # of auth_hmac
MAX_ADVERT_V3 = 40.95  # RFC 9568 5.2.7: 12 bits of centiseconds


def global_defs(blocks: list[Bound], node_name: str) -> GlobalDefs:
    """All global_defs blocks together; the last value wins, lists add up."""
    values: dict[str, Any] = {}
    for bound in blocks:
        for name, value in bound.values.items():
            values[name] = values.get(name, ()) + tuple(value) if isinstance(value, list) else value
    values.setdefault("router_id", node_name)
    if values.get("process_names"):
        values.setdefault("process_name", "keepalived")
        values.setdefault("vrrp_process_name", "keepalived_vrrp")
    values["script_user"], values["script_group"] = values.get("script_user", ("", ""))
    if values.get("vrrp_min_garp"):  # keepalived.conf(5): one message, no second block
        values.setdefault("vrrp_garp_master_delay", 0.0)
        values.setdefault("vrrp_garp_master_repeat", 1)
    defs = GlobalDefs(**values)
    return dataclasses.replace(
        defs,
        vrrp_garp_lower_prio_delay=_first(defs.vrrp_garp_lower_prio_delay, defs.vrrp_garp_master_delay),
        vrrp_garp_lower_prio_repeat=_first(defs.vrrp_garp_lower_prio_repeat, defs.vrrp_garp_master_repeat),
        smtp_alert_vrrp=_first(defs.smtp_alert_vrrp, _first(defs.smtp_alert, False)),
    )


def substitutes(blocks: list[Bound], problems: Problems) -> None:
    """Of the ways that keepalived has to drop packets there is one here."""
    for bound in blocks:
        for name in ("vrrp_iptables", "vrrp_ipsets"):
            if name in bound.values:
                message = f"{name}: no_accept is done in nftables, no rule is made by iptables"
                problems.warning(bound.places[name].place(), message, "say 'nftables' instead")


def _first(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


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
        if len(first) == 16 and first[:2] != b"\xfe\x80":
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
                self.problems.survivable(row.place(1), f"{row.words[0]}: {row.words[1]} is not {_ipv(family)}")
                del values[field]
        kept, own = [], []
        for peer, statement in zip(peers, self.bound.items.get("unicast_peer", ())):
            if _family(peer.address) != family:
                self.problems.survivable(statement.place(), f"unicast_peer: {statement.words[0]} is not {_ipv(family)}")
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


def _ipv(family: int) -> str:
    return "an IPv4 address" if family == AF_INET else "an IPv6 address"


def instances(blocks: list[Bound], defs: GlobalDefs, problems: Problems, around: Surroundings) -> list[VrrpInstance]:
    """All instances, resolved; clashes between them reported."""
    found: list[VrrpInstance] = []
    names: dict[str, Bound] = {}
    for bound in blocks:
        if bound.name in names:
            line = names[bound.name].statement.line.number
            message = f"vrrp_instance {bound.name} is already defined in line {line}"
            problems.survivable(bound.statement.place(1), message, "this block would be skipped")
            continue
        names[bound.name] = bound
        found.append(Instance(bound, defs, problems, around).resolved())
    _dropped(found, names, problems)
    found = vmac.assign(found, names, defs, problems)
    _clashes(found, names, problems)
    _shared_addresses(found, names, problems)
    _paths(found, names, problems)
    return found


def _clashes(found: list[VrrpInstance], bounds: dict[str, Bound], problems: Problems) -> None:
    """keepalived: one VRID per interface and family, unless unicast keeps two instances apart."""
    taken: dict[tuple[str, int, int, bytes], list[VrrpInstance]] = {}
    for instance in found:
        group = b"" if instance.unicast_peer else instance.mcast_group
        key = (instance.interface, instance.family, instance.virtual_router_id, group)
        for other in taken.setdefault(key, []):
            apart = instance.unicast_peer and (
                not set(instance.unicast_peer) & set(other.unicast_peer)
                or (instance.unicast_src_ip or b"") != (other.unicast_src_ip or b"")
            )
            there = instance.interface or instance.unicast_src_ip  # else it has been said that both are missing
            if not apart and instance.virtual_router_id and there:
                where = f"on {instance.interface}" if instance.interface else "with this unicast_src_ip"
                problems.error(
                    bounds[instance.name].places["virtual_router_id"].place(1),
                    f"virtual_router_id {instance.virtual_router_id} {where} "
                    f"({_ipv(instance.family).split()[1]}) is already that of {other.name}",
                )
        taken[key].append(instance)
    sources: dict[tuple[bytes, int], VrrpInstance] = {}
    for instance in found:
        if not instance.unicast_src_ip or not instance.unicast_peer:
            continue
        other = sources.setdefault((instance.unicast_src_ip, instance.virtual_router_id), instance)
        roaming = any(each.vrf or not each.interface for each in (instance, other))
        if roaming and other.interface != instance.interface and not (instance.vrf and other.vrf):
            message = f"unicast_src_ip: with this virtual_router_id it is that of {other.name}"
            hint = "who has no interface is told apart by the two alone: change one of them"
            problems.error(bounds[instance.name].places["unicast_src_ip"].place(1), message, hint)


def _dropped(found: list[VrrpInstance], bounds: dict[str, Bound], problems: Problems) -> None:
    """Strict mode has surprised many with addresses that do not answer: told once, at the first."""
    silent = [
        one.name for one in found if one.strict_mode and not one.accept and "accept" not in bounds[one.name].values
    ]
    if silent:
        others = f" and {len(silent) - 1} more" if silent[1:] else ""
        message = f"strict mode: packets to the addresses of {silent[0]}{others} are dropped (no_accept)"
        hint = "say 'accept', with version 3, if they are to answer pings and connections"
        bound = bounds[silent[0]]
        statement = bound.places.get("strict_mode")
        problems.warning(statement.place() if statement else bound.statement.place(1), message, hint)


def _paths(found: list[VrrpInstance], bounds: dict[str, Bound], problems: Problems) -> None:
    """One key for a peer; and routers that the second path can tell apart."""
    keys: dict[bytes, VrrpInstance] = {}
    names: dict[tuple[int, int, frozenset[bytes]], str] = {}
    for instance in found:
        for index, peer in enumerate(instance.peer_path):
            other = keys.setdefault(peer, instance)
            if other.peer_path_key != instance.peer_path_key:
                statement = bounds[instance.name].items["peer_path"][index]
                problems.error(statement.place(), f"peer_path: {statement.words[0]} has another key in {other.name}")
        if instance.peer_path:
            advertised = frozenset(entry.address for entry in instance.virtual_ipaddress)
            key = (instance.family, instance.virtual_router_id, advertised)
            if names.setdefault(key, instance.name) != instance.name:
                message = f"peer_path: neither this instance nor {names[key]} can use it"
                hint = "they have the same virtual_router_id and the same addresses: change one of the ids"
                problems.warning(bounds[instance.name].places["peer_path"].place(), message, hint)


def _shared_addresses(found: list[VrrpInstance], bounds: dict[str, Bound], problems: Problems) -> None:
    """Two routers with one address on one interface: whoever becomes BACKUP takes it from the other."""
    owners: dict[tuple[bytes, str], str] = {}
    for instance in found:
        for field in ("virtual_ipaddress", "virtual_ipaddress_excluded"):
            for index, item in enumerate(getattr(instance, field)):
                owner = owners.setdefault((item.address, item.dev or instance.interface), instance.name)
                if owner != instance.name:
                    statement = bounds[instance.name].items[field][index]
                    message = f"{field}: {statement.words[0]} is an address of {owner} too"
                    problems.warning(statement.place(), message, "the one that leaves MASTER removes it from the other")


def pipes(blocks: list[Bound], defs: GlobalDefs, problems: Problems) -> GlobalDefs:
    """A named pipe of its own for each purpose, and one for each script that reads."""
    places = {name: statement for bound in blocks for name, statement in bound.places.items()}
    changes: dict[str, Any] = {}
    first, second = defs.notify_fifo, defs.vrrp_notify_fifo
    if first and second and first.path == second.path:
        message = f"vrrp_notify_fifo: {second.path} is the notify_fifo already"
        problems.survivable(places["vrrp_notify_fifo"].place(1), message, "each line would come twice; remove one")
        changes["vrrp_notify_fifo"] = second = None
    for name, fifo in (("notify_fifo", first), ("vrrp_notify_fifo", second)):
        if fifo is not None and fifo.user and not user_exists(fifo.user):
            message = f"{name}: there is no user '{fifo.user}' on this machine, root will own {fifo.path}"
            problems.warning(places[name].place(2), message)
        if fifo is None and getattr(defs, f"{name}_script") is not None:
            if name not in {field for bound in blocks for field in bound.tried}:
                problems.survivable(places[f"{name}_script"].place(), f"{name}_script without {name}")
            changes[f"{name}_script"] = None
    return dataclasses.replace(defs, **changes) if changes else defs


def process(blocks: list[Bound], defs: GlobalDefs, problems: Problems) -> None:
    """What the daemon's own processes would be worse off with."""
    places = {name: statement for bound in blocks for name, statement in bound.places.items()}
    if defs.vrrp_priority is not None and defs.vrrp_rt_priority is None:
        message = "vrrp_priority: the vrrp process would not run in real time, as it does without this line"
        problems.warning(places["vrrp_priority"].place(), message, "remove it, or say 'vrrp_rt_priority 1'")
    if defs.reload_repeat and not defs.reload_time_file:
        problems.warning(places["reload_repeat"].place(), "reload_repeat does nothing without reload_time_file")


Command = tuple[str, Place, Script]  # what it is called in a message, where it stands


def commands(blocks: list[Bound], trackers: Definitions, checks: Iterable[VrrpScript]) -> Iterator[Command]:
    """Everything that a script is given for."""
    for bound in blocks:
        for row in bound.block.keywords.values():
            script = bound.values.get(row.field) if row.type.type == "script" else None
            if script is not None and script.argv:
                yield row.field, bound.places[row.field].place(1), script
    for check in checks:
        place = trackers.place(SCRIPT, check.name, "script")
        user, group = check.user
        yield f"vrrp_script {check.name}", place, dataclasses.replace(check.script, user=user, group=group)


def scripts(found: Iterable[Command], defs: GlobalDefs, problems: Problems) -> None:
    """What the scripts need of this machine: programs that exist, and that others may not change."""
    judged: dict[str, tuple[str, str] | None] = {}
    as_root: Place | None = None
    default_user = defs.script_user or (DEFAULT_USER if user_exists(DEFAULT_USER) else "")
    for name, place, script in found:
        user = script.user or default_user
        group = script.group if script.user else defs.script_group
        if user and not user_exists(user):
            quotes = "put a command with arguments in quotes" if script.user else ""
            message = f"{name}: there is no user '{user}' on this machine, the script cannot run"
            problems.warning(place, message, quotes)
        elif group and not group_exists(group):
            problems.warning(place, f"{name}: there is no group '{group}' on this machine, the script cannot run")
        path = program(script.argv[0])
        shell = for_a_shell(script.argv)
        if shell and (path is not None or shell[0] == script.argv[0]):
            problems.warning(place, f"{name}: '{shell[0]}' means nothing without a shell, and none is called", shell[1])
        elif path is None:
            problems.warning(place, f"{name}: there is no program '{script.argv[0]}' on this machine")
        if path is None:
            continue
        if not os.access(path, os.X_OK):
            hint = f"make it so with: chmod +x {shlex.quote(path)}"
            problems.warning(place, f"{name}: {path} is not executable", hint)
        if (user or "root") != "root":
            continue
        as_root = as_root or place
        if path not in judged:
            judged[path] = insecure(path)
        finding = judged[path]
        if finding:
            problems.security(place, f"{name}: root would run {path}, but {finding[0]}", f"mend it with: {finding[1]}")
    if as_root is not None and not defs.enable_script_security:
        problems.warning(as_root, "scripts run as root and enable_script_security is not set", "set it in global_defs")


def machine(blocks: list[Bound], found: list[VrrpInstance], interfaces: Interfaces, problems: Problems) -> None:
    """What the instances need of this machine's interfaces, and do not find."""
    ours = {item.address for one in found for item in (*one.virtual_ipaddress, *one.virtual_ipaddress_excluded)}
    by_name = {bound.name: bound for bound in reversed(blocks)}
    for instance in found:
        bound = by_name[instance.name]
        bases = {device.name: device.base for device in instance.devices}
        if instance.interface and instance.interface not in interfaces:
            problems.warning(
                bound.places["vrf" if instance.vrf else "interface"].place(1),
                f"{'vrf' if instance.vrf else 'interface'}: there is no {instance.interface} on this machine",
                _among(instance.interface, interfaces),
            )
        for line, statement in zip(bound.values.get("track_interface", ()), bound.items.get("track_interface", ())):
            if line.name not in interfaces and line.name not in bases:
                message = f"track_interface: there is no {line.name} on this machine"
                problems.warning(statement.place(), message, _among(line.name, interfaces))
        for peer, statement in zip(instance.peer_path, bound.items.get("peer_path", ())):
            if _within(peer, interfaces.get(instance.interface, ()), ours):
                problems.warning(
                    statement.place(),
                    f"peer_path: {statement.words[0]} is in a subnet of {instance.interface}",
                    "the second path is for when that interface fails: give an address on another one",
                )
        for statement, entry in zip(bound.items.get("virtual_routes", ()), instance.virtual_routes):
            for _, name in entry.holes:
                if name not in interfaces and name not in bases:
                    message = f"virtual_routes: there is no {name} on this machine"
                    problems.warning(statement.place(statement.words.index(name)), message, _among(name, interfaces))
        for field in ("virtual_ipaddress", "virtual_ipaddress_excluded"):
            outside: dict[str, list[Statement]] = {}
            for item, statement in zip(getattr(instance, field), bound.items.get(field, ())):
                device = bases.get(item.dev, item.dev) or instance.interface
                if device != instance.interface and device not in interfaces:
                    place = statement.place(statement.words.index("dev") + 1 if "dev" in statement.words else 0)
                    message = f"{field}: there is no {device} on this machine"
                    problems.warning(place, message, _among(device, interfaces))
                if device in interfaces and not _within(item.address, interfaces[device], ours):
                    outside.setdefault(device, []).append(statement)
            for device, statements in outside.items():
                first, more = statements[0], len(statements) - 1
                which = f"{first.words[0]} and {more} more are" if more else f"{first.words[0]} is"
                hint = "hosts of its subnet will not reach it directly"
                if more:
                    hint = "hosts of their subnets will not reach them directly"
                problems.warning(first.place(), f"{field}: {which} in no subnet of {device}", hint)


def _among(name: str, interfaces: Interfaces) -> str:
    import difflib  # only a mistake pays for it

    here = [other for other in interfaces if other != "lo"]
    near = difflib.get_close_matches(name, here, 1)
    if near:
        return f"did you mean {near[0]}?"
    return f"here are {', '.join(here[:12])}{', ...' if len(here) > 12 else ''}" if here else ""


def _within(address: bytes, addresses: Iterable[tuple[bytes, int]], ours: set[bytes]) -> bool:
    bits = len(address) * 8
    value = int.from_bytes(address, "big")
    for other, prefixlen in addresses:
        if len(other) == len(address) and other not in ours and prefixlen < bits:
            shift = bits - prefixlen
            if value >> shift == int.from_bytes(other, "big") >> shift:
                return True
    return False


def resolve(
    binder: Binder, top: Bound, node_name: str, interfaces: Interfaces | None, mtus: Mapping[str, int]
) -> dict[str, Any]:
    """Everything of a file, as the fields of a Model."""
    problems = binder.problems
    globals_ = top.values.get("global_defs", [])
    outside = {name: top.values[name] for name in OUTSIDE if name in top.values}
    defs = dataclasses.replace(pipes(globals_, global_defs(globals_, node_name), problems), **outside)
    process(globals_, defs, problems)
    substitutes(globals_, problems)
    blocks = top.values.get("vrrp_instance", [])
    names = Names((defs.iproute_usr_dir, defs.iproute_etc_dir), vrf_tables)
    compiler = Compiler(names, problems)
    known = {bound.name for bound in blocks}
    static = statics.resolve(top, defs.default_interface, compiler, known, problems)
    trackers = Definitions(top, problems)
    found = instances(blocks, defs, problems, Surroundings(mtus, compiler, trackers))
    group_blocks = top.values.get("vrrp_sync_group", [])
    groups = sync_groups(group_blocks, found, defs, trackers, problems)
    found = for_members(groups, blocks, found, problems)
    checks = trackers.used(SCRIPT)
    scripts(commands([*globals_, *blocks, *group_blocks], trackers, checks), defs, problems)
    if interfaces is not None:
        machine(blocks, found, interfaces, problems)
    return {
        "global_defs": defs,
        "vrrp_instances": tuple(found),
        "vrrp_sync_groups": tuple(groups),
        "vrrp_scripts": checks,
        "track_files": trackers.used(FILE),
        "track_processes": trackers.used(PROCESS),
        "interface_delays": delays(top, found, problems),
        "garp_groups": garp_groups(top.values.get("garp_group", ()), problems),
        "statics": static,
    }
