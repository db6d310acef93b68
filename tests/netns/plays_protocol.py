"""Plays about the protocol: elections, junk, versions, preemption, announcements, trackers.

Data for test_side_by_side.py; playing.py explains the words.
"""

from __future__ import annotations

import signal

from playing import (
    EVENTS,
    FAIL,
    HUSH,
    ONE,
    RELOAD,
    START,
    STOP,
    SUCCEED,
    Play,
    Script,
    block,
    edit,
    group,
    head,
    hear,
    ip,
    notifies,
    number,
    send,
    speak,
    vi,
)
from stage import Speaker

# ---------------------------------------------------------------------------------------------- elections
ELECTION: Script = {
    "start": START,
    "lower advert": hear(100),
    "equal advert, lower address": hear(150, source="10.0.0.1"),
    "higher adverts": speak(200),
    "lower advert as BACKUP": (HUSH, hear(100)),
    "equal adverts, higher address": speak(150),
    "priority 0": (HUSH, hear(0)),
    "priority 0 as MASTER": hear(0),
    "one higher advert": hear(200),
    "other addresses, lower": hear(100, addresses=("10.0.0.77",)),
    "other addresses, higher": speak(200, addresses=("10.0.0.77", "10.0.0.78")),
    "the same addresses": speak(200),
    "stop as BACKUP": (STOP, HUSH),
    "start beside a higher one": (speak(200), START),
    "it falls silent": HUSH,
    "stop as MASTER": STOP,
}  # fmt: skip

JUNK: Script = {
    "start": START,
    "wrong ttl": speak(200, ttl=254),
    "wrong version": speak(200, version=2),
    "wrong checksum": speak(200, spoilt=True),
    "another vrid": speak(200, vrid=99),
    "another interval, higher": speak(200, interval=0.5),
    "it falls silent": HUSH,
    "another interval, lower": hear(100, interval=1),
    "SIGUSR1": send(signal.SIGUSR1),
    "SIGUSR2": send(signal.SIGUSR2),
    "SIGHUP twice": (send(signal.SIGHUP), RELOAD),
    "stop": STOP,
}

# ---------------------------------------------------------------------------------------------- sync groups
MEMBERS = [
    vi(name="VI_1", tells=notifies(*EVENTS)),
    vi(name="VI_2", tells=notifies(*EVENTS), interface="eth1", vrid=52, addresses=("10.1.0.100",)),
]
GROUPED = head() + group("VI_1", "VI_2", lines=(block("track_script", "check"),)) + "".join(MEMBERS)
GROUP: Script = {
    "start": START,
    "lower advert": hear(100),
    "higher adverts for one": speak(200),
    "silence": HUSH,
    "priority 0": (speak(200), 1.0),
    "priority 0 of the better one": (HUSH, hear(0)),
    "interface of the other down": ip("link set eth1 down"),
    "interface of the other up": ip("link set eth1 up"),
    "script fails": FAIL,
    "script succeeds": SUCCEED,
    "nothing changed": RELOAD,
    "the check leaves the group": edit((block("track_script", "check"), "")),
    "no group": edit((group("VI_1", "VI_2", lines=("",)), "")),
    "a group again": edit(("vrrp_instance VI_1", f"{group('VI_1', 'VI_2')}\nvrrp_instance VI_1")),
    "stop as MASTER": STOP,
}
WEIGHED = (
    head()
    + group("VI_1", "VI_2", lines=("sync_group_tracking_weight", block("track_file", "number weight 2")))
    + vi(block("track_script", "check weight 10"), tells=notifies(*EVENTS))
    + MEMBERS[1]
)
GROUP_WEIGHT: Script = {
    "start": START,
    "weight falls": number(-20),
    "adverts between": speak(120),
    "weight is back": number(0),
    "silence": HUSH,
    "script fails": FAIL,
    "script succeeds": SUCCEED,
    "another weight": edit(("number weight 2", "number weight 3")),
    "weight falls then": number(-20),
    "stop": STOP,
}

# ---------------------------------------------------------------------------------------------- IPv6
SIX = Speaker(source="fe80::9", addresses=("fe80::100", "fd00::100"))
IPV6 = head() + vi(addresses=("fe80::100", "fd00::100/64"))
ELECTION6: Script = {
    "start": START,
    "lower advert": hear(100),
    "equal advert, lower address": hear(150, source="fe80::1"),
    "higher adverts": speak(200),
    "priority 0": (HUSH, hear(0)),
    "interface down": ip("link set eth0 down"),
    "interface up": ip("link set eth0 up", "addr add fe80::2/64 dev eth0 nodad", "addr add fd00::2/64 dev eth0 nodad"),
    "another priority": edit(("priority 150", "priority 90")),
    "adverts above the new priority": speak(100),
    "silence": HUSH,
    "one address more": edit(("fd00::100/64", "fd00::100/64\n        fd00::101/64 preferred_lft 0\n        fd00::102")),
    "address deleted by somebody": ip("addr del fd00::100/64 dev eth0"),
    "stop": STOP,
}  # fmt: skip

# ---------------------------------------------------------------------------------------------- unicast
TO_US = Speaker(destination="10.0.0.2")
UNICAST = head() + vi(
    "unicast_src_ip 10.0.0.2", "check_unicast_src", block("unicast_peer", "10.0.0.9 min_ttl 250 max_ttl 254")
)
UNICASTS: Script = {
    "start": START,
    "lower advert": hear(100, ttl=254),
    "higher adverts": speak(200, ttl=252),
    "ttl too high": speak(200, ttl=255),
    "ttl too low": speak(200, ttl=64),
    "of a stranger": speak(200, ttl=254, source="10.0.0.8"),
    "by multicast": speak(200, ttl=254, destination=""),
    "other limits": edit(("min_ttl 250 max_ttl 254", "min_ttl 255")),
    "within these": (speak(200), 2.0),
    "another peer": edit(("10.0.0.9 min_ttl 255", "10.0.0.8 min_ttl 255")),
    "of that peer": speak(200, source="10.0.0.8"),
    "stop": (STOP, HUSH),
}
SOURCE = head() + vi("unicast_src_ip 10.0.0.22", "track_src_ip", "unicast_ttl 64", block("unicast_peer", "10.0.0.9"))
SOURCED: Script = {
    "start": START,
    "source goes": ip("addr del 10.0.0.22/24 dev eth0"),
    "source is back": ip("addr add 10.0.0.22/24 dev eth0"),
    "stop": STOP,
}
SOURCES: Script = {
    "start": START,
    "source comes": ip("addr add 10.0.0.22/24 dev eth0"),
    "source goes": ip("addr del 10.0.0.22/24 dev eth0"),
    "stop": STOP,
}

# ---------------------------------------------------------------------------------------------- VRRPv2
TWO = Speaker(version=2, interval=1.0)
PASS = head(version=2) + vi(block("authentication", "auth_type PASS", "auth_pass secret"), interval=1, priority=250)
PASSES: Script = {
    "start": (START, 5.0),
    "lower advert": hear(100, password="secret"),
    "wrong password": speak(251, password="secred"),
    "no password": (speak(251), 4.0),
    "wrong interval": (speak(251, password="secret", interval=2.0), 4.0),
    "higher advert": (HUSH, hear(251, password="secret")),
    "priority 0": hear(0, password="secret"),
    "another password": edit(("auth_pass secret", "auth_pass geheim")),
    "with the former": hear(251, password="secret"),
    "with the new one": (hear(251, password="geheim"), 2.0),
    "stop": STOP,
}
SEALED = PASS.replace("auth_type PASS", "auth_type AH")
AHS: Script = {
    "start": (START, 5.0),
    "lower advert": hear(100, ah="secret"),
    "not sealed": (hear(251), 2.0),
    "another key": (hear(251, ah="geheim"), 2.0),
    "higher advert": (hear(251, ah="secret"), 2.0),
    "stop": STOP,
}

# ---------------------------------------------------------------------------------------------- preemption, owners
NOPREEMPT = head() + vi("nopreempt")
PREEMPTION: Script = {
    "start beside a lower one": (speak(100), START),
    "it falls silent": HUSH,
    "lower advert": hear(100),
    "higher adverts": speak(200),
    "then lower ones": speak(100),
    "priority 0": (HUSH, hear(0)),
    "lower ones as MASTER": (speak(100), 2.0),
    "stop": (STOP, HUSH),
}
DELAYED = head() + vi("preempt_delay 2")
DELAYS: Script = {
    "start beside a lower one": (speak(100), START, 6.0),
    "lower one is heard": (speak(100), 2.0),
    "higher adverts": (speak(200), 2.0),
    "then lower ones": (speak(100), 5.0),
    "it falls silent": HUSH,
    "higher adverts again": (speak(200), 2.0),
    "silence": (HUSH, 3.0),
    "stop": STOP,
}
OWNER = head() + vi("state MASTER", priority=255)
OWNERS: Script = {
    "start": START,
    "higher is not possible": hear(254),
    "interface down": ip("link set eth0 down"),
    "interface up": ip("link set eth0 up"),
    "state BACKUP": edit(("state MASTER", "state BACKUP")),
    "priority 150": edit(("priority 255", "priority 150")),
    "priority 255": edit(("priority 150", "priority 255")),
    "state MASTER, another vrid": edit(("state BACKUP", "state MASTER"), ("router_id 51", "router_id 52")),
    "its vrid again": edit(("router_id 52", "router_id 51")),
    "stop": STOP,
    "start beside another": (speak(200), START),
    "it falls silent": HUSH,
    "stop again": STOP,
}

TWO_OWNERS: Script = {
    "start": START,
    "lower address": hear(255, source="10.0.0.1"),
    "higher address": hear(255),
    "stop": STOP,
}

# ---------------------------------------------------------------------------------------------- announcements
BACK: Script = {  # at one moment for both: when the timers of announcements begin is not the start's accident
    "start": START,
    "lower advert": (hear(100), 3.0),
    "taken over": (speak(200), 1.0),
    "and back": (HUSH, hear(0), 5.2),
    "stop": STOP,
}
GARP = head("vrrp_garp_lower_prio_repeat 3", "vrrp_garp_lower_prio_delay 2") + vi(
    "garp_master_delay 1", "garp_master_repeat 2", block("virtual_ipaddress_excluded", "10.0.0.110/24")
)
REFRESH = head() + vi(
    "garp_master_delay 0", "garp_master_repeat 2", "garp_master_refresh 2", "garp_master_refresh_repeat 3",
)  # fmt: skip
REFRESHES: Script = {**BACK, "lower advert": (hear(100), 0.5)}
GARP6 = head() + vi("garp_master_delay 1", "garp_master_repeat 2", addresses=("fe80::100", "fd00::100/64"))
PACED = head("vrrp_garp_interval 0.1", "vrrp_gna_interval 0.1") + vi(
    "garp_master_delay 2", "garp_master_repeat 3", addresses=("10.0.0.100", "10.0.0.101")
)
SPARSE = head("vrrp_min_garp", "vrrp_higher_prio_send_advert", "vrrp_lower_prio_no_advert") + vi("down_timer_adverts 5")
SPARSES: Script = {
    "start": START,
    "lower adverts": (speak(100), 2.0),
    "higher advert": (HUSH, hear(200)),
    "priority 0": (speak(200), 1.0),
    "of the better one": (HUSH, hear(0)),
    "stop": STOP,
}
STRICT = head("vrrp_strict") + vi(priority=150)
STRICTS: Script = {
    "start": START,
    "lower adverts": (speak(100), 2.0),
    "higher advert": (HUSH, hear(200)),
    "priority 0": hear(0),
    "stop": STOP,
}

# ---------------------------------------------------------------------------------------------- trackers
TRACKED = head() + vi(
    block("track_interface", "eth1 weight -60"), block("track_file", "number weight 2 reverse"),
    block("track_script", "check weight 20 reverse"),
)  # fmt: skip
TRACKERS: Script = {
    "start": START,
    "tracked interface down": ip("link set eth1 down"),
    "tracked interface up": ip("link set eth1 up"),
    "script fails": FAIL,
    "script succeeds": SUCCEED,
    "weight": number(10),
    "weight beyond": number(200),
    "nonsense in the file": number("abc"),
    "weight is back": number(0),
    "stop": STOP,
}
WEIGHTLESS = head() + vi(
    block("track_interface", "eth1 weight -60"), block("track_file", "number weight 2"),
    block("track_script", "check weight 20"),
)  # fmt: skip
WEIGHTS: Script = {
    "start": START,
    "interface without a weight": edit(("eth1 weight -60", "eth1")),
    "it goes down": ip("link set eth1 down"),
    "script fails in FAULT": FAIL,
    "it is up": ip("link set eth1 up"),
    "script succeeds": SUCCEED,
    "file without a weight": edit(("number weight 2", "number weight 0")),
    "not zero": number(1),
    "zero": number(0),
    "stop": STOP,
}

# ---------------------------------------------------------------------------------------------- other keywords
LOOSE = head("vrrp_skip_check_adv_addr") + vi("mcast_src_ip 10.0.0.22", "mcast_dst_ip 224.0.0.19")
LOOSES: Script = {
    "start": START,
    "lower advert": hear(100, addresses=("10.0.0.77",), destination="224.0.0.19"),
    "to the usual group": hear(200),
    "higher advert": hear(200, destination="224.0.0.19"),
    "default address": edit(("    mcast_src_ip 10.0.0.22\n", "")),
    "default group": edit(("    mcast_dst_ip 224.0.0.19\n", "")),
    "higher advert then": hear(200),
    "stop": STOP,
}
HIGHER = head("vrrp_higher_prio_send_advert") + vi()
HIGHERS: Script = {"start": START, "higher advert": hear(200), "higher adverts": speak(200), "stop": (STOP, HUSH)}

PLAYS: dict[str, Play] = {
    "election": Play(ONE, ELECTION),
    "junk": Play(ONE, JUNK),
    "group": Play(GROUPED, GROUP),
    "group, weighed": Play(WEIGHED, GROUP_WEIGHT, full=True),
    "ipv6": Play(IPV6, ELECTION6, SIX),
    "unicast": Play(UNICAST, UNICASTS, TO_US),
    "unicast source": Play(SOURCE, SOURCED, TO_US, setup=("addr add 10.0.0.22/24 dev eth0",)),
    "no source": Play(SOURCE, SOURCES, TO_US, full=True),
    "PASS": Play(PASS, PASSES, TWO, full=True),
    "AH": Play(SEALED, AHS, TWO, full=True),
    "nopreempt": Play(NOPREEMPT, PREEMPTION),
    "preempt_delay": Play(DELAYED, DELAYS, full=True),
    "owner": Play(OWNER, OWNERS, full=True),
    "owners": Play(OWNER, TWO_OWNERS, full=True),
    "garp": Play(GARP, BACK),
    "garp, refresh": Play(REFRESH, REFRESHES),
    "garp, ipv6": Play(GARP6, BACK, SIX),
    "garp, paced": Play(PACED, BACK, Speaker(addresses=("10.0.0.100", "10.0.0.101")), full=True),
    "sparse": Play(SPARSE, SPARSES, full=True),
    "loose": Play(LOOSE, LOOSES, setup=("addr add 10.0.0.22/24 dev eth0",), full=True),
    "higher": Play(HIGHER, HIGHERS, full=True),
    "strict": Play(STRICT, STRICTS, full=True),
    "trackers": Play(TRACKED, TRACKERS),
    "weights": Play(WEIGHTLESS, WEIGHTS, full=True),
}
