"""Runs the scenarios beside this file: inputs, time, expected actions.

A scenario is a text file of blocks: commands, a line `----`, what the engines did (time, node, action), an empty
line. `pytest --rewrite` writes the second half anew; a change there is a change of behaviour and is reviewed as
one. Lines that begin with # say which sentence of RFC 9568 or which option of keepalived.conf(5) the file is about.

    start A [ADDRESS..] [KEY=VALUE..]    a node with eth0 and vrrp_instance VI_1 (also: node A, apply A + lines, of
                                         which `group G1 VI_1 VI_2` is a vrrp_sync_group)
    advance T                            let time pass until T seconds
    advert A from=ADDRESS [priority= interval= vips= auth= to= ttl= vrid= version= checksum= raw= key=ID late=S]
    replay A N                           the N-th last datagram on the wire, once more
    auth=PASSWORD or auth=AH:PASSWORD, hmac=IDS/ACTIVE/MODE in a configuration
    missing A [ITEM WHY]                 a static item cannot be had (statics A ITEM NAME..: who needs it)
    unrouted A route|rule TEXT           somebody else removes one of routes=A,B rules=C (! before one: no_track)
    link A eth0 [up=no addresses= tentative= mac= arp=no ifindex=] · unlink A eth0 · removed A ADDRESS/LEN [eth1]
    link A "" ..                         the whole machine, for those without an interface
    refused A [vrrp.51 why]              virtual interfaces that cannot be made (vmac=vrrp.51 in a configuration)
    hold A T (before the first apply)    vrrp_startup_delay: nobody starts before
    delays A [eth0 DOWN UP]              interface_up_down_delays, from the next apply on
    garps A GARP GNA eth0 ..             garp_group, from the next apply on
    unknown A                            log_unknown_vrids, from the next apply on
    stop A · kill A · maintenance A on · handover A VI_1 · sleep A · wake A
    letgo A from=ADDRESS [rank= age= by=ADDRESS vrid= vips=]    what a peer says over the second path, authenticated
    track A NAME ok|fail|value N         what the helper finds of a script (process:NAME), or the number of a file;
                                         scripts=NAME[:WEIGHT[r]],.. (interfaces= files= processes=) in a configuration
    crash A                              its vrrp process dies and is adopted; the helper tells the next one at once
    cut A B (both ways) · deaf A B [eth1] (A no longer hears B) · heal
    state A · groups A · counters A · awaited A · checksum A · owners ADDRESS
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from ipaddress import ip_address
from pathlib import Path

import pytest
from simulator import Datagram, Event, World, describe, instance, interface_address, packed, text, vip

from vrrpd.model.globals import GlobalDefs
from vrrpd.model.groups import VrrpSyncGroup
from vrrpd.model.values import FILE, INTERFACE, SCRIPT, GarpGroup, InterfaceDelay, Routing, Static, Track
from vrrpd.model.vmac import Device
from vrrpd.model.vrrp import AF_INET, AF_INET6, Authentication, AuthHmac, VrrpInstance
from vrrpd.vrrp.actions import SendAdvert
from vrrpd.vrrp.auth import next_sequence, sealed
from vrrpd.vrrp.packet import Seal, encode
from vrrpd.vrrp.path import Told, Word, identity
from vrrpd.vrrp.router import VirtualRouter

SCENARIOS = sorted(Path(__file__).parent.glob("*.txt"))
TYPES = {f.name: str(f.type) for f in fields(VrrpInstance)}
SHORT = {"vrid": "virtual_router_id", "vips": "virtual_ipaddress", "excluded": "virtual_ipaddress_excluded"}
SHORT |= {"peers": "unicast_peer", "src": "unicast_src_ip", "hmac": "auth_hmac"}
SHORT |= {"routes": "virtual_routes", "rules": "virtual_rules"}
SHORT |= {f"{kind}s": f"track_{kind}" for kind in (INTERFACE, SCRIPT, FILE)} | {"processes": "track_process"}


def seconds(at: float) -> str:
    return f"{at:.6f}".rstrip("0").rstrip(".")


def way(name: str, word: str) -> Routing:
    """A route or a rule of which nobody reads more than its text."""
    text = word.lstrip("!")
    return Routing("rule" if name.endswith("rules") else "route", text, text.encode(), no_track=text != word)


def value_of(name: str, word: str) -> object:
    """A word of a scenario as the field of VrrpInstance."""
    kind = TYPES[name]
    if name == "vmac":
        return Device(word, "eth0", mac=bytes.fromhex("00005e000133"))
    if name == "garp_extra_if":
        return False, float(word)
    if name == "family":
        return AF_INET6 if word == "6" else AF_INET
    if name == "authentication":
        kind, _, password = word.rpartition(":")
        return Authentication(kind or "PASS", password.encode())
    if name == "auth_hmac":
        ids, active, mode = word.split("/")  # 1,2/1/enforce
        return AuthHmac(tuple((int(key), key_of(int(key))) for key in ids.split(",")), int(active), "time", 5, mode)
    if "Track" in kind:
        return tuple(track(name[6:], part) for part in word.split(","))
    if "Routing" in kind:  # routes=1.2.3.0/24,default; ! before one: no_track
        return tuple(way(name, part) for part in word.split(",") if part)
    if "VirtualAddress" in kind:
        return tuple(vip(part) for part in word.split(",") if part)
    if "bytes, ..." in kind:
        return tuple(packed(part) for part in word.split(","))
    if kind.startswith("bytes"):
        return packed(word)
    if kind == "bool":
        return {"yes": True, "no": False}[word]
    return {"int": int, "float": float, "str": str}[kind](word)


def track(kind: str, word: str) -> Track:
    name, _, weight = word.partition(":")
    return Track(kind, name, int(weight.rstrip("r") or 0), weight.endswith("r"))


def key_of(number: int) -> bytes:
    return b"key %d of a scenario, of 32 bytes." % number


def configuration(name: str, words: list[str]) -> VrrpInstance:
    changes = {}
    for word in words:
        key, _, value = word.partition("=")
        key = SHORT.get(key, "authentication" if key == "auth" else key)
        changes[key] = value_of(key, value)
    if "vmac" in changes:
        changes["devices"] = (changes["vmac"],)
    return instance(name, **changes)


class Interpreter:
    """Carries out the commands of one scenario."""

    def __init__(self) -> None:
        self.world = World()
        self.shown = 0
        self.answers: list[str] = []

    def run(self, block: list[str]) -> list[str]:
        """The lines below ----."""
        commands: list[list[str]] = []
        for line in block:
            if line.startswith(" "):
                commands[-1].append(line.strip())
            elif not line.startswith("#"):
                commands.append([line])
        for line, *more in commands:
            word, *args = line.split()
            handler: Callable[..., None] = getattr(self, f"do_{word}")
            handler(*args, **({"more": more} if more else {}))
        events, self.shown = self.world.events[self.shown :], len(self.world.events)
        answers, self.answers = self.answers, []
        return [*self.show(events), *answers]

    def show(self, events: list[Event]) -> Iterator[str]:
        """One line an action; adverts that only repeat are one line."""
        position = 0
        while position < len(events):
            event = events[position]
            following = position + 1
            if isinstance(event.action, SendAdvert):
                while following < len(events) and events[following][1:] == event[1:]:
                    following += 1
            router = getattr(event.action, "router", None)
            where = event.node + (f"/{router.name}" if router is not None and router.name != "VI_1" else "")
            line = f"{seconds(event.at)} {where} {describe(event.action)}"
            if following - position > 1:
                line += f" ({following - position} times until {seconds(events[following - 1].at)})"
            yield line
            position = following

    def do_node(self, name: str, *addresses: str) -> None:
        self.world.node(name, *addresses)

    def do_start(self, name: str, *words: str) -> None:
        node = self.world.node(name, *(word for word in words if "=" not in word))
        node.apply(configuration("VI_1", [word for word in words if "=" in word]))

    def do_apply(self, name: str, more: list[str] | None = None) -> None:
        lines = [line.split() for line in more or ()]
        instances = [configuration(word, words) for word, *words in lines if word != "group"]
        groups = [VrrpSyncGroup(words[0], tuple(words[1:])) for word, *words in lines if word == "group"]
        self.world.nodes[name].apply(*instances, groups=groups)

    def do_advance(self, until: str) -> None:
        self.world.advance(float(until))

    def do_advert(self, name: str, *words: str) -> None:
        given = dict(word.split("=", 1) for word in words)
        node = self.world.nodes[name]
        router = node.engine.routers[given.get("instance", "VI_1")]
        source = packed(given["from"])
        destination = packed(given["to"]) if "to" in given else router.spec.destinations[0]
        spec = router.spec._replace(source=source, version=int(given.get("version", router.cfg.version)))
        spec = spec._replace(vrid=int(given.get("vrid", spec.vrid)))
        spec = spec._replace(advert_int=float(given.get("interval", router.cfg.advert_int)))
        if "vips" in given:
            spec = spec._replace(addresses=tuple(packed(part) for part in given["vips"].split(",")))
        if "auth" in given:
            spec = spec._replace(auth_type=1 if given["auth"] else 0, auth_data=given["auth"].encode().ljust(8, b"\0"))
        if given.get("checksum") == "message":
            spec = spec._replace(pseudo_header=False)
        if "checksum" in given:
            spec = spec._replace(old_sum=given["checksum"] == "old")
        data = encode(spec, int(given.get("priority", 100)), destination)
        if given.get("checksum") == "wrong":
            data = data[:6] + bytes((data[6] ^ 1,)) + data[7:]
        family = AF_INET if len(source) == 4 else AF_INET6
        if "key" in given:
            number = int(given["key"])
            seal = Seal(key_of(number), number, 5)
            wall = self.world.now + node.offset - float(given.get("late", 0))
            bare = ((destination, bytes(20) + data if family == AF_INET else data),)
            data = sealed(spec._replace(seal=seal), bare, next_sequence(seal, 0, 0.0, wall))[0][1]
            data = data[20:] if family == AF_INET else data
        ttl = int(given.get("ttl", 255))
        node.receive(Datagram(name, family, source, destination, ttl, data, router.cfg.interface))

    def do_replay(self, name: str, back: str) -> None:
        self.world.nodes[name].receive(self.world.sent[-int(back)])

    def do_letgo(self, name: str, *words: str) -> None:
        given = dict(word.split("=", 1) for word in words)
        node = self.world.nodes[name]
        router = node.engine.routers["VI_1"]
        addresses = [packed(part) for part in given["vips"].split(",")] if "vips" in given else router.spec.addresses
        vrid = int(given.get("vrid", router.spec.vrid))
        said = Word(router.spec.family, vrid, packed(given["from"]), identity(addresses))
        told = Told((said,), int(given.get("rank", 0)), float(given.get("age", 0.001)))
        by = packed(given["by"]) if "by" in given else router.cfg.peer_path[0]
        node.do(node.engine.let_go(by, told, self.world.now))

    def do_link(self, name: str, interface: str, *words: str) -> None:
        interface = interface.strip('"')
        node = self.world.nodes[name]
        changes: dict[str, object] = {}
        for word in words:
            key, value = word.split("=", 1)
            if key == "addresses":
                changes["addresses"] = tuple(interface_address(part) for part in value.split(",") if part)
            elif key == "tentative":
                kept = node.links[interface].addresses
                changes["addresses"] = tuple(entry._replace(usable=entry != interface_address(value)) for entry in kept)
            elif key == "mac":
                changes["mac"] = bytes.fromhex(value.replace(":", ""))
            else:
                changes[key] = int(value) if key in ("ifindex", "lower") else value == "yes"
        node.link(interface, **changes)

    def do_rename(self, name: str, old: str, new: str) -> None:
        node = self.world.nodes[name]
        node.links[new] = node.links.pop(old)._replace(name=new)
        node.link(new)

    def do_statics(self, name: str, item: str, *followers: str) -> None:
        """For the configurations to come."""
        self.world.nodes[name].statics = (Static(Routing("address", item, b""), followers),)

    def do_missing(self, name: str, item: str = "", *why: str) -> None:
        node = self.world.nodes[name]
        node.do(node.engine.missing({item: " ".join(why)} if item else {}, self.world.now))

    def do_refused(self, name: str, device: str = "", *why: str) -> None:
        node = self.world.nodes[name]
        node.causes = {device: " ".join(why)} if device else {}
        node.do(node.engine.refused(node.causes, self.world.now))

    def do_unlink(self, name: str, interface: str) -> None:
        self.world.nodes[name].unlink(interface)

    def do_removed(self, name: str, address: str, interface: str = "eth0") -> None:
        node = self.world.nodes[name]
        entry = vip(address)
        node.held.pop(entry.address, None)
        ifindex = node.links[interface].ifindex
        node.do(node.engine.address_removed(ifindex, entry.address, entry.prefixlen, self.world.now))

    def do_unrouted(self, name: str, kind: str, text: str) -> None:
        node = self.world.nodes[name]
        entry = next(entry for entry in node.router.routing if (entry.kind, entry.text) == (kind, text))
        node.ways.pop(entry, None)
        node.do(node.engine.routing_removed(node.router, entry, self.world.now))

    def do_stop(self, name: str) -> None:
        node = self.world.nodes[name]
        node.do(node.engine.stop(self.world.now))

    def do_kill(self, name: str) -> None:
        del self.world.nodes[name]

    def do_maintenance(self, name: str, on: str) -> None:
        node = self.world.nodes[name]
        node.do(node.engine.maintenance(on == "on", self.world.now))

    def do_handover(self, name: str, router: str) -> None:
        node = self.world.nodes[name]
        try:
            node.do(node.engine.handover(router, self.world.now))
        except (LookupError, ValueError) as refusal:
            self.answers.append(f"refused: {refusal.args[0]}")

    def do_hold(self, name: str, until: str) -> None:
        self.world.nodes[name].engine.hold(float(until))

    def do_delays(self, name: str, interface: str = "", down: str = "0", up: str = "0") -> None:
        delays = (InterfaceDelay(interface, float(down), float(up)),) if interface else ()
        self.world.nodes[name].options["interface_delays"] = delays

    def do_garps(self, name: str, garp_interval: str, gna_interval: str, *interfaces: str) -> None:
        group = GarpGroup(interfaces, float(garp_interval), float(gna_interval))
        self.world.nodes[name].options["garp_groups"] = (group,)

    def do_unknown(self, name: str) -> None:
        self.world.nodes[name].options["global_defs"] = GlobalDefs(log_unknown_vrids=True)

    def do_checksum(self, name: str) -> None:
        """Of the advert that it sends."""
        for router in self.world.nodes[name].engine.routers.values():
            ((_, datagram),) = router.datagrams(router.priority)
            self.answers.append(f"{name}/{router.name} checksum {datagram[26:28].hex()}")

    def do_awaited(self, name: str) -> None:
        engine = self.world.nodes[name].engine
        for router in engine.routers.values():
            awaited = engine.snapshot(router, self.world.now)["awaited"]
            self.answers.append(f"{name}/{router.name} awaits {', '.join(awaited) or 'nothing'}")

    def do_sleep(self, name: str) -> None:
        self.world.nodes[name].asleep = True

    def do_wake(self, name: str) -> None:
        self.world.wake(self.world.nodes[name])

    def do_track(self, name: str, what: str, word: str, number: str = "0") -> None:
        kind, _, what = what.rpartition(":")
        node = self.world.nodes[name]
        if word == "value":
            node.track(FILE, what, int(number), f"holds {number}")
        else:
            said = {"ok": "succeeded", "fail": "failed (exit status 1)"}[word]
            node.track(kind or SCRIPT, what, int(word == "ok"), said)

    def do_crash(self, name: str) -> None:
        self.world.nodes[name].crash()

    def do_cut(self, one: str, other: str) -> None:
        self.world.cut(one, other)
        self.world.cut(other, one)

    def do_deaf(self, hearer: str, speaker: str, *interface: str) -> None:
        self.world.cuts.add((speaker, hearer, *interface))

    def do_heal(self) -> None:
        self.world.cuts.clear()

    def do_state(self, name: str) -> None:
        node = self.world.nodes[name]
        for router in node.engine.routers.values():
            self.answers.append(f"{name}/{router.name} {self.state(router)}")
        held = sorted(node.held, key=lambda address: (len(address), address))
        self.answers.append(f"{name} holds {' '.join(map(text, held)) or 'nothing'}")
        if node.ways:
            self.answers.append(f"{name} has {', '.join(f'{entry.kind} {entry.text}' for entry in node.ways)}")

    def state(self, router: VirtualRouter) -> str:
        line = f"{router.state.name}{' (leaving)' if router.leaving else ''} priority {router.priority}"
        if router.state.name in ("MASTER", "BACKUP"):
            line += f", due {seconds(router.timer.deadline)}"
            line += f", master_down_interval {seconds(router.master_down_interval)}"
        if router.faults:
            line += f", {', '.join(sorted(router.faults))}"
        if router.tracking is not None and router.tracking.held:
            line += f", {', '.join(router.tracking.awaited())}"
        return line

    def do_groups(self, name: str) -> None:
        for group in self.world.nodes[name].engine.groups.values():
            found = group.snapshot()
            leaving = " (leaving)" if found["leaving"] else ""
            reasons = "; ".join(found["reasons"])
            self.answers.append(f"{name}/{group.name} {found['state']}{leaving}{': ' if reasons else ''}{reasons}")

    def do_counters(self, name: str) -> None:
        engine = self.world.nodes[name].engine
        counted = [(name, engine.counters)]
        counted += [(f"{name}/{router.name}", router.counts()) for router in engine.routers.values()]
        for who, counters in counted:
            shown = " ".join(f"{key}={value}" for key, value in sorted(counters.items()) if value)
            if shown:
                self.answers.append(f"{who} {shown}")

    def do_owners(self, address: str) -> None:
        self.answers.append(f"{ip_address(address)} is on {' '.join(self.world.holders(address)) or 'nobody'}")


def blocks_of(scenario: str) -> list[tuple[list[str], list[str]]]:
    """(commands with comments, expected lines) of every block."""
    blocks = []
    for paragraph in scenario.strip("\n").split("\n\n"):
        lines = paragraph.split("\n")
        cut = lines.index("----") if "----" in lines else len(lines)
        blocks.append((lines[:cut], lines[cut + 1 :]))
    return blocks


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, rewrite: bool) -> None:
    interpreter = Interpreter()
    written = path.read_text()
    output = []
    for commands, _ in blocks_of(written):
        result = interpreter.run(commands)
        only_comments = all(line.startswith("#") for line in commands)
        output.append("\n".join(commands if only_comments else [*commands, "----", *result]))
    fresh = "\n\n".join(output) + "\n"
    if rewrite and fresh != written:
        path.write_text(fresh)
        written = fresh
    assert fresh == written
