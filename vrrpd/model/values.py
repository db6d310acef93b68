"""Values of a model that the running processes make and compare too: light, they bring no reader along."""

from __future__ import annotations

from typing import NamedTuple

MACVLAN, IPVLAN = "macvlan", "ipvlan"
INTERFACE, SCRIPT, FILE, PROCESS = "interface", "script", "file", "process"  # what is tracked
FOREVER = 0xFFFFFFFF  # a lifetime in seconds


class VirtualAddress(NamedTuple):
    """One line of virtual_ipaddress. `address` is packed, 4 or 16 bytes."""

    address: bytes
    prefixlen: int
    dev: str = ""  # "" means the instance's interface
    broadcast: bytes | None = None
    scope: int = 0  # RT_SCOPE_UNIVERSE
    label: str = ""
    dad: bool = False  # IPv6: run duplicate address detection (keyword -nodad; the default is to add with NODAD)
    no_track: bool = False  # its removal by somebody else is left alone
    use_vmac: bool = False  # on a virtual interface of its own, which `dev` names once resolved
    peer: bytes | None = None  # the other end; the prefix length is that of the peer
    flags: int = 0  # IFA_F_* of home, mngtmpaddr, noprefixroute, autojoin
    preferred: int | None = None  # seconds until it is deprecated; None: 0 for an IPv6 /128, else for ever


class Routing(NamedTuple):
    """A route, a rule or a static address, compiled: all that the kernel is told, but for the numbers of interfaces."""

    kind: str  # net.routing.ROUTE, RULE or ADDRESS
    text: str  # as one would tell ip(8), for people
    body: bytes  # rtmsg or fib_rule_hdr, and attributes
    holes: tuple[tuple[int, str], ...] = ()  # where in it the index of an interface belongs, and its name
    mode: int = 0  # NLM_F_APPEND, NLM_F_EXCL
    no_track: bool = False  # its removal by somebody else is left alone


class InterfaceDelay(NamedTuple):
    """One line of interface_up_down_delays: how long a change of its link has to last until it counts, in seconds."""

    name: str
    down: float
    up: float = 0.0


class GarpGroup(NamedTuple):
    """Interfaces whose gratuitous ARPs, and neighbour advertisements, share one pace; 0: no pause between them."""

    interfaces: tuple[str, ...]
    garp_interval: float = 0.0
    gna_interval: float = 0.0


class Static(NamedTuple):
    """What is set while the daemon runs, whoever is MASTER, and the instances that need it."""

    entry: Routing  # an address, a route or a rule
    followers: tuple[str, ...] = ()
    group: str = ""  # of track_group, which names them


class Device(NamedTuple):
    """A virtual interface on top of a real one, which the daemon makes and removes."""

    name: str
    base: str = ""
    kind: str = MACVLAN
    mac: bytes = b""  # of a macvlan; an ipvlan has that of its base
    mode: str = ""  # of an ipvlan
    address: bytes = b""  # of an ipvlan: what it sends from


class Track(NamedTuple):
    """One line of track_interface, track_script, track_file or track_process, resolved."""

    kind: str
    name: str
    weight: int = 0  # 0: FAULT
    reverse: bool = False  # good is bad, or the weight has the other sign
