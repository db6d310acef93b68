"""What the engine asks of the world, carried out: a dictionary of functions by the type of action.

In: the actions of one engine call. Out, in this order: adverts at once (one that follows its router's addresses waits
for them, see actions.py), one netlink batch for all addresses, then gratuitous ARP and neighbour advertisements, then
notices to the helper. The last two are done in slices, whenever the daemon calls `work`: the adverts and addresses
of thousands of routers do not wait for their frames and log lines. Before an address is added the guard gets
the record that undoes it (will.py). It knows where each address lies, and removes nothing that it did not put there,
but for what an earlier process of ours left behind. It decides nothing about VRRP and never blocks.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vrrpd import ipc, will
from vrrpd.lacking import Ledger
from vrrpd.laying import Laying
from vrrpd.model.diff import identity
from vrrpd.net import addresses, netlink, vmac
from vrrpd.net.links import Links
from vrrpd.net.routing import ADDRESS
from vrrpd.net.sockets import Frames, Sender
from vrrpd.vrrp import actions, frames
from vrrpd.vrrp.estate import Estate, Holding, Lacking, Laid
from vrrpd.vrrp.states import State

if TYPE_CHECKING:
    from vrrpd.firewall import Firewall
    from vrrpd.model.vrrp import VirtualAddress
    from vrrpd.vrrp.auth import Datagrams
    from vrrpd.vrrp.router import VirtualRouter

RECORD_ADDRESSES = 200  # in one record of the will
RECORD_LAID = 20  # routes and rules in it
LONGEST_TEXT = 200
WILL_BYTES = 32768  # in one message
NOTICES = 16  # in one message: none of them is longer than 4 kB

MASTER = State.MASTER

Place = tuple[int, bytes, int]  # interface index, address, prefix length
_NOWHERE = None, "", b""


class Executor:
    def __init__(
        self, links: Links, requests: netlink.Requests, guard: ipc.Channel, helper: ipc.Channel, epoch: int = 0
    ) -> None:
        self._links, self._requests, self._epoch = links, requests, epoch
        self._guard, self._helper = guard, helper
        self._senders: dict[tuple[int, int], Sender] = {}  # by interface index and family
        self._frames = Frames()
        self.seq = 0  # of what is told to the helper
        # What is queued in one turn, and whose addresses lie where.
        self._batch: list[tuple[VirtualRouter, VirtualAddress, Place, bool]] = []  # true: add
        self._renewals: list[tuple[VirtualRouter, VirtualAddress, Place]] = []
        self._late: list[actions.SendAdvert] = []  # to be sent when the batch is through
        self.firewall: Firewall | None = None  # what drops packets to addresses with no_accept
        # What follows at leisure: announcements with the rounds that are left, and notices.
        self._announce: deque[tuple[VirtualRouter, Sequence[VirtualAddress], int]] = deque()
        self._notices: deque[ipc.Message] = deque()
        self.silent = False  # a former process has the word: what it buries may have the name of what we start
        self._letting_go: dict[VirtualRouter, None] = {}
        self.let_go: Callable[[Sequence[VirtualRouter]], None] = lambda routers: None  # tells the second path
        self._held: dict[VirtualRouter, dict[tuple[bytes, int], tuple[Place, str, bytes]]] = {}  # with name and peer
        self._places: dict[Place, VirtualRouter] = {}
        self._fresh: set[Place] = set()  # what nobody held before this batch
        self._former: set[Place] = set()  # what the process before us has added for routers that are no more
        self.laying = Laying(links)  # routes and rules
        self._foreign: set[Place] = set()  # an owner's address that was on the interface before us
        self._declarations: dict[VirtualRouter, None] = {}  # to be looked at when the batch is through
        self._keys: dict[VirtualRouter, tuple[str, ...]] = {}  # of the records that the guard has
        self._specs: dict[VirtualRouter, object] = {}  # whose adverts they hold
        self._lacking: Ledger[VirtualAddress] = Ledger()
        self._next_key = 0
        self._handlers: dict[type, Callable[[Any], None]] = {
            actions.SendAdvert: self._send_advert,
            actions.Inherit: self._inherit,
            actions.AddAddresses: self._add_addresses,
            actions.DelAddresses: self._del_addresses,
            actions.AddRouting: lambda action: self.laying.add(action.router, action.entries),
            actions.DelRouting: self._del_routing,
            actions.LetGo: self._let_go,
            actions.RenewAddresses: self._renew_addresses,
            actions.Announce: self._queue_announce,
            actions.Transition: self._transition,
            actions.GroupTransition: self._group_transition,
            actions.RxLowerPriority: self._rx_lower_priority,
            actions.PriorityChange: self._priority_change,
            actions.OtherAdvert: self._other_advert,
            actions.Refit: self._refit,
            actions.Unsteady: self._unsteady,
            actions.Log: self._log,
        }

    @property
    def places(self) -> Collection[Place]:
        """Where addresses of ours lie: their echo from the kernel is no news."""
        return self._places

    @property
    def send_errors(self) -> int:
        return sum(sender.errors for sender in self._senders.values())

    def descriptor(self, ifindex: int, family: int) -> int:
        """Of the socket that adverts leave from; -1 where none is open."""
        sender = self._senders.get((ifindex, family))
        return -1 if sender is None else sender.fileno()

    def close(self, ifindex: int) -> None:
        """The interface is gone, its sockets with it."""
        for key in [key for key in self._senders if key[0] == ifindex]:
            self._senders.pop(key).close()
        if self.firewall is not None:
            self.firewall.forget(ifindex)

    def run(self, todo: Sequence[actions.Action]) -> None:
        """Adverts at once, then addresses in one batch; what is to be announced and told waits for `work`."""
        if not todo:
            return
        handlers = self._handlers
        for action in todo:
            handlers[type(action)](action)
        if self._batch or self.laying.queued:
            self._flush_batch()
        if self._renewals:
            self._flush_renewals()
        if self._late:
            late, self._late = self._late, []
            for action in late:
                self._send_advert(action)
        if self._letting_go:
            self.let_go(list(self._letting_go))
            self._letting_go.clear()
        if self._declarations:
            self._declare(self._declarations)
            self._declarations.clear()

    @property
    def busy(self) -> bool:
        """There is something to announce or to tell."""
        return bool(self._announce or (self._notices and not self.silent))

    def last_words(self) -> None:
        """Announce and tell all of it, now."""
        self.silent = False
        self.work(float("inf"))

    def work(self, seconds: float) -> None:
        """Announce and tell something, for about this long; every first round comes before any second."""
        until = time.monotonic() + seconds
        while self.busy:
            if self._announce:
                self._announce_round()
            else:
                self._tell_some()
            if time.monotonic() >= until:
                return

    def _tell_some(self) -> None:
        """Several in one message: of thousands each one costs both sides a system call less."""
        notices = self._notices
        some = [notices.popleft() for _ in range(min(len(notices), NOTICES))]
        self._helper.send(some[0] if len(some) == 1 else {"t": "notices", "notices": some})

    def _send_advert(self, action: actions.SendAdvert) -> None:
        router = action.router
        if self._batch and self._batch[-1][0] is router and self._batch[-1][3]:
            self._late.append(action)
            return
        if router.virtual_mac and not action.yielding:
            self._send_frames(router, action.priority)
            return
        sender = self._senders.get((router.ifindex, router.cfg.family)) or self._sender(router)
        if sender is None:
            return
        spec = router.spec
        if not action.priority:
            self._declarations[router] = None  # nobody can go on with what has resigned
        ready = router.datagrams(action.priority) if spec.seal is None else self._sealed(router, action.priority)
        for destination, datagram in ready:
            sender.send(destination, datagram, spec.source, spec.ttl)

    def _send_frames(self, router: VirtualRouter, priority: int) -> None:
        """From the virtual MAC address: through the interface itself, which carries whatever source it is given."""
        interface = self._links.hardware(router.ifindex)[0]
        sealed = router.spec.seal is not None
        for frame in router.framed(self._sealed(router, priority)) if sealed else router.frames(priority):
            self._frames.send(interface, frame)

    def _sealed(self, router: VirtualRouter, priority: int) -> Datagrams:
        """The seal is put on at the last moment: its time is that of the advert."""
        ready = router.sealed(priority, time.monotonic(), time.time())
        if router in self._keys and self._specs.get(router) is not router.spec:
            self._declarations[router] = None  # its sequence goes on from a peer's: so must that of its will
        return ready

    def _sender(self, router: VirtualRouter) -> Sender | None:
        """Opened at the first advert; none where there is no interface (any more)."""
        if router.ifindex not in self._links:
            return None
        try:
            sender = Sender(router.ifindex, router.cfg.family)
        except OSError as error:
            self.tell("debug", f"{router.name}: cannot send on {router.cfg.interface}: {error.strerror}")
            return None
        self._senders[router.ifindex, router.cfg.family] = sender
        return sender

    def _place(self, router: VirtualRouter, address: VirtualAddress) -> Place | None:
        ifindex = self._links.find(address.dev) if address.dev else router.ifindex
        return (ifindex, address.address, address.prefixlen) if ifindex in self._links else None

    def open(self, router: VirtualRouter) -> None:
        """Ahead of its first advert."""
        if (router.ifindex, router.cfg.family) not in self._senders:
            self._sender(router)

    def _inherit(self, action: actions.Inherit) -> None:
        held = self._held.setdefault(action.router, {})
        for here in action.held:
            place = here.ifindex, here.address, here.prefixlen
            held[place[1:]] = place, here.ifname, here.peer
            self._places[place] = action.router
            if here.foreign:
                self._foreign.add(place)
        if action.laid or action.lacking:
            self.laying.inherit(action.router, action.laid, action.lacking)
        if action.lacking:
            wanted = {(ADDRESS, _written(address)): address for address in action.router.addresses}
            self._lacking.inherit(action.router, action.lacking, wanted)
        self._declarations[action.router] = None
        if self.firewall is not None and not action.router.cfg.accept:
            self.firewall.shield(place for place, *_ in held.values())

    def _del_routing(self, action: actions.DelRouting) -> None:
        self.laying.remove(action.router, action.entries)
        self._declarations[action.router] = None

    def holdings(self, router: VirtualRouter) -> tuple[Holding, ...]:
        """What a successor inherits."""
        return tuple(
            Holding(place[1], place[2], place[0], name, place in self._foreign, peer)
            for place, name, peer in self._held.get(router, {}).values()
        )

    def succeed(self, left: Iterable[Estate]) -> None:
        """Routers that are no more: what lies there of them is ours, whoever of this process has it from now on."""
        for estate in left:
            self._former |= {(here.ifindex, here.address, here.prefixlen) for here in estate.held if not here.foreign}
            self.laying.succeed(here for here in estate.laid if not here.foreign)

    def disown(self, places: Iterable[Place]) -> None:
        """Another process has them now: nothing of what is still to be done here touches them."""
        for place in places:
            self._places.pop(place, None)

    def _add_addresses(self, action: actions.AddAddresses) -> None:
        router = action.router
        held = self._held.setdefault(router, {})
        for address in action.addresses:
            place = self._place(router, address)
            if place is None:
                self._refused(router, address, f"there is no interface {address.dev or router.cfg.interface}")
                continue
            held[place[1:]] = place, address.dev or router.cfg.interface, address.peer or b""
            self._batch.append((router, address, place, True))

    def _del_addresses(self, action: actions.DelAddresses) -> None:
        router = action.router
        held = self._held.get(router, {})
        for address in action.addresses:
            self._lacking.taken(router, address)
            # Where we put it, should the interface have another name by now.
            place = held.pop((address.address, address.prefixlen), _NOWHERE)[0]
            if place is not None or (place := self._stale(router, address)) is not None:
                self._batch.append((router, address, place, False))
        self._declarations[router] = None

    def _renew_addresses(self, action: actions.RenewAddresses) -> None:
        held = self._held.get(action.router, {})
        for address in action.addresses:
            place = held.get((address.address, address.prefixlen), _NOWHERE)[0]
            if place is not None:
                self._renewals.append((action.router, address, place))

    def _flush_renewals(self) -> None:
        renewals, self._renewals = self._renewals, []
        # Not what a batch of this very turn took off (it would come back), nor what is not ours to change.
        due = [e for e in renewals if self._places.get(e[2]) is e[0] and e[2] not in self._foreign]
        results = self._requests.run([_request(router, address, place, True, True) for router, address, place in due])
        for (router, address, _), code in zip(due, results):
            if code and code not in addresses.ABSENT:
                self.tell("error", f"{router.name}: cannot renew {_show(address)}: {os.strerror(code)}")

    def _let_go(self, action: actions.LetGo) -> None:
        if not any(here[0] in self._foreign for here in self._held.get(action.router, {}).values()):
            self._letting_go[action.router] = None

    def _flush_batch(self) -> None:
        batch, self._batch = self._batch, []
        wanted: list[tuple[VirtualRouter, VirtualAddress, Place, bool]] = []
        for entry in batch:
            router, _, place, adding = entry
            if adding:
                if place not in self._places:
                    self._fresh.add(place)
                self._places[place] = router
            elif self._places.get(place) is not router:
                continue  # taken over by another router in this very turn
            else:
                del self._places[place]
                self._former.discard(place)
                if place in self._foreign:
                    self._foreign.discard(place)
                    continue
            wanted.append(entry)
        adds = dict.fromkeys(router for router, _, _, adding in wanted if adding)
        if self.laying.queued:
            adds.update(dict.fromkeys(self.laying.adding()))
        self._declare(adds)
        for router in adds:
            self._declarations.pop(router, None)
        self._switch_ipv6(wanted)
        if self.firewall is not None:
            self.firewall.shield(place for router, _, place, adding in wanted if adding and not router.cfg.accept)
        results = self._carry_out([_request(*entry) for entry in wanted])
        if self.firewall is not None:
            self.firewall.unshield(place for _, _, place, _ in wanted if place not in self._places)
        for (router, address, place, adding), code in zip(wanted, results):
            if adding and (not code or code in addresses.PRESENT):
                self._lacking.taken(router, address)
            if adding and code in addresses.PRESENT:
                if router.cfg.vip_lifetime or self._links.mortal(*place):  # as its predecessor left it
                    self._renewals.append((router, address, place))
                if place in self._fresh and router.cfg.priority == 255 and place not in self._former:
                    self._foreign.add(place)  # an owner's own address: what we did not add we do not remove
                    self._declarations[router] = None
            elif code and code not in addresses.ABSENT:
                self._letting_go.pop(router, None)
                if adding:
                    self._refused(router, address, os.strerror(code))
                else:
                    self.tell("error", f"{router.name}: cannot remove {_show(address)}: {os.strerror(code)}")
        self._fresh.clear()

    def _refused(self, router: VirtualRouter, address: VirtualAddress, why: str) -> None:
        news = self._lacking.refused(router, address, ADDRESS, _written(address), why)
        if news:
            self.tell("error", news)

    @property
    def incomplete(self) -> bool:
        """There is something that the kernel does not take."""
        return bool(self._lacking or self.laying.lacking)

    def lacking(self, router: VirtualRouter) -> tuple[Lacking, ...]:
        """What of this router should be there, and is not."""
        return (*self._lacking.of(router), *self.laying.lacking.of(router))

    def retry(self) -> None:
        """Try that again: its reason may have gone. An address that comes this late is announced like a new one."""
        for router, tried in self._lacking.to_try():
            self.run([actions.AddAddresses(router, tried)])
            come = tuple(address for address in tried if not self._lacking.has(router, address))
            if come:
                self.run(router.duties.begin(come, time.monotonic()))
        self.laying.retry()
        if self.laying.queued:
            self._flush_batch()

    def _carry_out(self, requests: list[addresses.Request]) -> list[int]:
        """Addresses, between the routes and rules that leave and those that come: one batch of them all."""
        laying = self.laying
        if not laying.queued:
            return self._requests.run(requests)
        before, behind = laying.requests()
        codes = self._requests.run([*before, *requests, *behind])
        end = len(before) + len(requests)
        laying.answered([*codes[: len(before)], *codes[end:]])
        complaints, laying.complaints = laying.complaints, []
        for complaint in complaints:
            self.tell(*complaint)
        return codes[len(before) : end]

    def _switch_ipv6(self, wanted: Iterable[tuple[VirtualRouter, VirtualAddress, Place, bool]]) -> None:
        """IPv6 on virtual interfaces while they have an address, not a moment longer.

        A backup must not send from the virtual MAC address, and the kernel would: listener reports when an address
        comes or goes (RFC 3810 6.1), which turn the switches to us.
        """
        changed = {
            place[0]: address.dev
            for router, address, place, _ in wanted
            if len(place[1]) == 16 and _on_device(router, address)
        }
        if not changed:
            return
        held = {place[0] for place in self._places if len(place[1]) == 16}
        for ifindex, name in changed.items():
            with contextlib.suppress(OSError):  # a kernel without IPv6, or /proc/sys is read-only
                vmac.set_ipv6(name, ifindex in held)

    def _queue_announce(self, action: actions.Announce) -> None:
        self._announce.append((action.router, action.addresses, action.rounds))

    def _announce_round(self) -> None:
        router, announced, rounds = self._announce.popleft()
        for address in announced:
            if not router.owns(address):
                continue  # no longer, since this waits
            place = self._place(router, address)
            frame = self._frame(place, _on_device(router, address)) if place else None
            if frame is not None:
                self._frames.send(*frame)
        if rounds > 1:
            self._announce.append((router, announced, rounds - 1))

    def _frame(self, place: Place, virtual: bool) -> tuple[str, bytes] | None:
        """The interface to announce an address on, and the frame; none where nobody listens to such."""
        name, mac, arp = self._links.hardware(place[0])
        if not arp or len(mac) != 6:
            return None
        if len(place[1]) == 4:
            return name, frames.gratuitous_arp(mac, place[1], virtual)
        return name, frames.unsolicited_na(mac, place[1], _forwards(name))

    def settle(self, routers: Iterable[VirtualRouter]) -> None:
        """Add what belongs on an interface of its own (`dev`) that was not there, or is another one by now."""
        todo: list[actions.Action] = []
        for router in routers:
            if router.state is not MASTER or router.leaving:
                continue
            held = self._held.get(router, {})
            missing = tuple(
                address
                for address in router.addresses
                if address.dev
                and (place := self._place(router, address)) is not None
                and place != held.get(place[1:], _NOWHERE)[0]
            )
            if missing:
                todo += [
                    actions.AddAddresses(router, missing),
                    actions.Announce(router, missing, router.cfg.garp_master_repeat),
                ]
        self.run(todo)

    def settle_routing(self, routers: Iterable[VirtualRouter]) -> None:
        """Interfaces have come, or come up: the kernel drops the routes of one that goes down, and says nothing."""
        for router in routers:
            if router.state is MASTER and not router.leaving:
                self.laying.add(router, [entry for entry in router.routing if not entry.no_track])
        if self.laying.queued:
            self._flush_batch()

    def _refit(self, action: actions.Refit) -> None:
        self._guard.send({"t": "refit"})

    def _unsteady(self, action: actions.Unsteady) -> None:
        self._guard.send({"t": "links", "links": action.links})

    # -- what only tells
    def _transition(self, action: actions.Transition) -> None:
        self.seq += 1
        self._notices.append(
            {
                "t": "transition",
                "instance": action.router.name,
                "old": action.old.name,
                "new": action.new.name,
                "event": action.event,
                "priority": action.priority,
                "reason": action.reason,
                "seq": self.seq,
                "at": time.time(),
            }
        )
        if MASTER in (action.old, action.new):
            self._declarations[action.router] = None

    def _group_transition(self, action: actions.GroupTransition) -> None:
        self.seq += 1
        self._notices.append(
            {
                "t": "group_transition",
                "instance": action.group.name,
                "old": action.old.name,
                "new": action.new.name,
                "event": action.event,
                "priority": 0,
                "reason": action.reason,
                "seq": self.seq,
                "at": time.time(),
            }
        )

    def _rx_lower_priority(self, action: actions.RxLowerPriority) -> None:
        self._notices.append(
            {
                "t": "rx_lower_pri",
                "instance": action.router.name,
                "source": _text(action.source),
                "priority": action.priority,
                "own": action.router.priority,
                "at": time.time(),
            }
        )

    def _priority_change(self, action: actions.PriorityChange) -> None:
        self._notices.append(
            {
                "t": "priority",
                "instance": action.router.name,
                "state": action.router.state.name,
                "former": action.former,
                "priority": action.priority,
                "piped": action.router.cfg.notify_priority_changes,
                "reason": action.reason,
                "at": time.time(),
            }
        )
        if action.router in self._keys:  # whoever goes on with it adverts what we did
            self._declarations[action.router] = None

    def _other_advert(self, action: actions.OtherAdvert) -> None:
        if action.router in self._keys:
            self._declarations[action.router] = None

    def _log(self, action: actions.Log) -> None:
        self._notices.append({"t": "log", "level": action.level, "message": action.message})

    def tell(self, level: str, message: str) -> None:
        """A line for the log, in its turn."""
        line: ipc.Message = {"t": "log", "level": level, "message": message}
        if self._notices:
            self._notices.append(line)
        else:
            self._helper.send(line)

    def tell_duplicate(self, place: Place) -> None:
        """The kernel has asked for an address of ours (`-nodad`), and somebody has answered."""
        router = self._places.get(place)
        if router is None:
            return
        shown, where = f"{_text(place[1])}/{place[2]}", self._links.hardware(place[0])[0]
        what = "duplicate address detection failed, and nobody is answered for it here"
        self.tell("error", f"{router.name}: another host on {where} has {shown}: {what}")

    # --------------------------------------------------------------------- will
    def _declare(self, routers: Iterable[VirtualRouter]) -> None:
        """Tell the guard what undoes these routers now; where there is nothing to undo, that."""
        sets: list[dict[str, Any]] = []
        drops: list[str] = []
        size = 0
        for router in routers:
            records = self._records(router)
            keys = tuple(record.key for record in records)
            drops += [key for key in self._keys.pop(router, ()) if key not in keys]
            if not records:
                self._held.pop(router, None)
                self._specs.pop(router, None)
                continue
            self._keys[router], self._specs[router] = keys, router.spec
            for record in records:
                sets.append(will.encode(record))
                size += 256 + 64 * len(record.addresses) + 40 * len(record.advert.addresses) + 1024 * len(record.laid)
                if size >= WILL_BYTES:
                    self._guard.send({"t": "will", "set": sets, "drop": []})
                    sets, size = [], 0
        for start in range(0, max(len(drops), 1), 512):
            if sets or drops:
                self._guard.send({"t": "will", "set": sets, "drop": drops[start : start + 512]})
                sets = []

    def _records(self, router: VirtualRouter) -> list[will.Record]:
        """One for every RECORD_ADDRESSES addresses, because a message has a limit; none for who holds nothing."""
        held = self._held.get(router, {}).values()
        laid = [_bequeathed(here) for here in self.laying.of(router) if not here.foreign]
        if not held and not laid and router.state is not MASTER:
            return []
        own = [will.Held(*at[1:], at[0], name, peer) for at, name, peer in held if at not in self._foreign]
        if router in self._keys:
            stem = self._keys[router][0].rpartition("/")[0]
        else:
            self._next_key += 1
            stem = f"{router.name}#{self._epoch}.{self._next_key}"
        part = RECORD_ADDRESSES // RECORD_LAID
        priority = router.priority if router.state is MASTER and not router.leaving else 0
        return [
            will.Record(
                f"{stem}/{start}",
                router.ifindex,
                router.cfg.interface,
                tuple(own[start : start + RECORD_ADDRESSES]),
                router.spec,
                router.cfg.peer_path,
                priority,
                identity(router.cfg)[3],
                "" if router.group is None else router.group.name,
                tuple(laid[start // part : start // part + RECORD_LAID]),
            )
            for start in range(0, max(len(own), len(laid) * part, 1), RECORD_ADDRESSES)
        ]

    def renew_wills(self) -> None:
        """After a reload or a change of our source address the advert of a record may be another one."""
        self._declare([router for router in self._keys if self._specs.get(router) is not router.spec])

    def _stale(self, router: VirtualRouter, address: VirtualAddress) -> Place | None:
        """Where an address of ours lies that we did not add: a crash left it, and a BACKUP must not answer for it."""
        place = self._place(router, address)
        if place is None or place in self._places or not self._links.holds(*place):
            return None
        interface = self._links.get(place[0])
        same = [a for a in interface.addresses if len(a.address) == len(place[1])] if interface else []
        where = self._links.hardware(place[0])[0]
        # The only one: rather a mistake in the configuration, without it the interface has none at all.
        if len(same) == 1 and not _on_device(router, address):
            self.tell("warning", f"{router.name}: {_show(address)} is the only address of {where}: left alone")
            return None
        self._places[place] = router
        self.tell("warning", f"{router.name}: removed {_show(address)}, left on {where} by an earlier process")
        return place


def _request(
    router: VirtualRouter, address: VirtualAddress, place: Place, adding: bool, renew: bool = False
) -> addresses.Request:
    if not adding:
        return addresses.delete(*place, address.peer)
    return addresses.add(
        *place,
        address.broadcast,
        address.scope,
        address.label,
        address.dad,
        router.cfg.vip_lifetime,
        renew,
        address.peer,
        address.flags,
        address.preferred,
    )


def _on_device(router: VirtualRouter, address: VirtualAddress) -> bool:
    """Does it lie on a virtual interface of ours?"""
    return bool(address.dev) and any(device.name == address.dev for device in router.cfg.devices)


def _bequeathed(here: Laid) -> will.Laid:
    entry = here.entry
    holes = tuple((offset, name, ifindex) for (offset, name), ifindex in zip(entry.holes, here.indexes))
    return will.Laid(entry.kind, entry.text[:LONGEST_TEXT], entry.body, holes, entry.mode, entry.no_track)


def _show(address: VirtualAddress) -> str:
    return f"{_text(address.address)}/{address.prefixlen}"


def _written(address: VirtualAddress) -> str:
    return f"{_show(address)} dev {address.dev}" if address.dev else _show(address)


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _forwards(interface: str) -> bool:
    """The R flag of a neighbour advertisement says whether we route (RFC 4861 4.4)."""
    try:
        with open(f"/proc/sys/net/ipv6/conf/{interface}/forwarding", encoding="ascii") as file:
            return file.read(1) != "0"
    except OSError:
        return False
