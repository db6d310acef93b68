"""Plays about the host: what fails, reloads, virtual interfaces, addresses and routes, interfaces that come and go.

Data for test_side_by_side.py; playing.py explains the words.
"""

from __future__ import annotations

import time

from playing import (
    FAIL,
    HUSH,
    ONE,
    OTHER,
    PLUG,
    RELOAD,
    ROUTE,
    ROUTE2,
    RULE,
    RULE2,
    START,
    STOP,
    SUCCEED,
    UNPLUG,
    Play,
    Script,
    block,
    edit,
    group,
    head,
    hear,
    ip,
    number,
    speak,
    vi,
)
from plays_protocol import BACK, SIX
from stage import Act, Speaker

# ---------------------------------------------------------------------------------------------- losses and reloads
TROUBLE: Script = {
    "start": START,
    "interface down": ip("link set eth0 down"),
    "interface up": ip("link set eth0 up"),
    "carrier lost": UNPLUG,
    "carrier back": PLUG,
    "script fails": FAIL,
    "script succeeds": SUCCEED,
    "stop": STOP,
}

LOSSES: Script = {
    "start": START,
    "weight falls": number(-30),
    "weight is back": number(0),
    "weight rises": number(30),
    "weight beyond all": number(-300),
    "weight is back again": number(0),
    "address deleted by somebody": ip("addr del 10.0.0.100/32 dev eth0"),
    "excluded address deleted by somebody": ip("addr del 10.0.0.110/24 dev eth0"),
    "route deleted by somebody": ip(f"route del {ROUTE}"),
    "rule deleted by somebody": ip(f"rule del {RULE}"),
    "stop": STOP,
}

RELOADS: Script = {
    "start": START,
    "nothing changed": RELOAD,
    "one address more": edit(("        10.0.0.100\n", "        10.0.0.100\n        10.0.0.101\n")),
    "addresses in another order": edit(("10.0.0.100\n        10.0.0.101\n", "10.0.0.101\n        10.0.0.100\n")),
    "one address less": edit(("        10.0.0.101\n", "")),
    "another prefix": edit(("10.0.0.110/24", "10.0.0.110/25")),
    "an excluded address more": edit(("10.0.0.110/25", "10.0.0.110/25\n        10.0.0.111/25 label eth0:x")),
    "another priority": edit(("priority 150", "priority 140")),
    "another route": edit((ROUTE, ROUTE2)),
    "one rule more": edit((RULE, f"{RULE}\n        {RULE2}")),
    "stop": STOP,
}

RELOADS2: Script = {
    "start": START,
    "one instance less": edit((OTHER, "")),
    "one instance more": edit(("vrrp_instance VI_1", f"{OTHER}\nvrrp_instance VI_1")),
    "another interval": edit(("advert_int 0.2", "advert_int 0.3")),
    "garp options": edit(("advert_int 0.3\n", "advert_int 0.3\n    garp_master_delay 2\n    garp_master_repeat 2\n")),
    "global defaults": edit(("    vrrp_notify_fifo", "    vrrp_garp_lower_prio_repeat 2\n    vrrp_notify_fifo")),
    "lower advert then": hear(100),
    "another notify command": edit(('notify "FOLDER/told notify"', 'notify "FOLDER/told other"')),
    "higher adverts": speak(200),
    "priority above theirs, as BACKUP": edit(("priority 150", "priority 210")),
    "stop": (STOP, HUSH),
}

RELOADS3: Script = {
    "start": START,
    "nopreempt": edit(("    priority 150\n", "    priority 150\n    nopreempt\n")),
    "state MASTER": edit(("    nopreempt\n", "    state MASTER\n")),
    "another vrid": edit(("virtual_router_id 51", "virtual_router_id 53")),
    "another name": edit(("VI_1", "VI_9")),
    "tracker removed": edit((block("track_script", "check"), "")),
    "script fails unheard": FAIL,
    "tracker that fails added": edit(("priority 150\n", f"priority 150\n    {block('track_script', 'check')}\n")),
    "script succeeds": SUCCEED,
    "weight": edit(("        check\n", "        check weight 20\n")),
    "another path of the script": edit(("/usr/bin/test -e FOLDER/ok", "/usr/bin/test -d FOLDER/ok")),
    "another interval of the script": edit(("interval 1", "interval 2")),
    "file tracker removed": edit((block("track_file", "number"), "")),
    "priority 255": edit(("priority 150", "priority 255")),
    "stop": STOP,
}  # fmt: skip

# ---------------------------------------------------------------------------------------------- virtual interfaces
VMAC = head() + vi("use_vmac vrrp.51", addresses=("10.0.0.100/24",))
VMACS: Script = {
    "start": START,
    "lower advert": hear(100),
    "higher adverts": speak(200),
    "priority 0": (HUSH, hear(0)),
    "interface down": ip("link set eth0 down"),
    "interface up": ip("link set eth0 up"),
    "virtual interface down": ip("link set vrrp.51 down"),
    "virtual interface up": ip("link set vrrp.51 up"),
    "one address more": edit(("10.0.0.100/24\n", "10.0.0.100/24\n        10.0.0.101/24\n")),
    "without it": edit(("    use_vmac vrrp.51\n", "")),
    "with it": edit(("    advert_int", "    use_vmac vrrp.51\n    advert_int")),
    "stop": STOP,
}
XMIT_BASE = VMAC.replace("use_vmac vrrp.51", "use_vmac vrrp.51\n    vmac_xmit_base")
VMAC6 = head() + vi("use_vmac", addresses=("fe80::100", "fd00::100/64"))

# ---------------------------------------------------------------------------------------------- addresses
FORMS = head() + vi(
    "promote_secondaries",
    block(
        "virtual_ipaddress_excluded", "10.0.0.110/25 brd 10.0.0.127 dev eth0 scope link", "fd00::110/64",
        "10.9.0.1 peer 10.9.0.2", "fd00::111/64 preferred_lft 0", "10.1.0.111/24 dev eth1 brd + no_track",
    ),
    block("virtual_routes", "blackhole 192.0.2.0/25 metric 7", "192.0.2.128/25 via 10.0.0.1 dev eth0 src 10.0.0.100",
          "203.0.113.0/25 dev eth1 table 77 scope link", "2001:db8:1::/64 via fd00::1 dev eth0 metric 5"),
    block("virtual_rules", "from 10.0.0.0/25 to 192.0.2.0/24 tos 16 table 77 preference 1000",
          "iif eth0 fwmark 3 blackhole preference 1001", "from fd00::/64 table 77 preference 1002"),
    addresses=("10.0.0.100/24 dev eth0 label eth0:vip", "10.0.0.101/32 scope host", "10.0.0.102/24 brd -"),
)  # fmt: skip
LISTED = ("10.0.0.100", "10.0.0.101", "10.0.0.102")
FORMED: Script = {
    "start": START,
    "lower advert": hear(100, addresses=LISTED),
    "a labelled address deleted": ip("addr del 10.0.0.100/24 dev eth0"),
    "one that is not tracked deleted": ip("addr del 10.1.0.111/24 dev eth1"),
    "a route deleted": ip("route del 192.0.2.128/25"),
    "interface down": ip("link set eth0 down"),
    "interface up": ip("link set eth0 up", "addr add fd00::2/64 dev eth0 nodad"),
    "another label": edit(("label eth0:vip", "label eth0:two")),
    "another scope": edit(("10.0.0.101/32 scope host", "10.0.0.101/32")),
    "stop": STOP,
}
MANY_LISTED = tuple(f"10.2.0.{n}" for n in range(1, 91))
MANY = head() + vi(
    "garp_master_repeat 1", block("virtual_ipaddress_excluded", *(f"10.2.1.{n}" for n in range(1, 31))),
    addresses=MANY_LISTED,
)  # fmt: skip
STATIC = (
    "track_group TG {\n    group {\n        VI_1\n    }\n}\n"
    + block("static_ipaddress", "10.3.0.1/24 dev eth0", "fd03::1/64 dev eth0", "10.3.1.1/24 dev eth1 track_group TG")
    + "\n"
    + block("static_routes", "10.4.0.0/24 via 10.0.0.1 dev eth0", "10.5.0.0/24 via 10.1.0.1 dev eth1 track_group TG")
    + "\n"
    + block("static_rules", "from 10.3.0.0/24 table 88 preference 2000")
    + "\n"
)
STATICS: Script = {
    "start": START,
    "an address deleted": ip("addr del 10.3.0.1/24 dev eth0"),
    "a tracked one deleted": ip("addr del 10.3.1.1/24 dev eth1"),
    "a route deleted": ip("route del 10.4.0.0/24"),
    "interface down": ip("link set eth1 down"),
    "interface up": ip("link set eth1 up"),
    "one less": edit(("        from 10.3.0.0/24 table 88 preference 2000\n", "")),
    "stop": STOP,
}

# ---------------------------------------------------------------------------------------------- interfaces, starts
DUMMY = (
    "link add dm0 address 02:00:00:00:06:01 type veth peer name dm1 address 02:00:00:00:06:02",
    "link set dm1 up",
    "addr add 10.6.0.1/24 dev dm0",
    "link set dm0 up",
)
DYNAMIC = head("dynamic_interfaces allow_if_changes") + OTHER + vi(interface="dm0", addresses=("10.6.0.100/24",))
DYNAMICS: Script = {
    "start without it": START,
    "it comes": ip(*DUMMY),
    "it goes": ip("link del dm0"),
    "it is back": ip(*DUMMY),
    "it gets another name": ip("link set dm0 down", "link set dm0 name dm9", "link set dm9 up"),
    "and its own again": ip("link set dm9 down", "link set dm9 name dm0", "link set dm0 up"),
    "stop": STOP,
}
MADE_ANEW = (
    "link set eth0 up",
    *("addr add 10.0.0.2/24 dev eth0", "addr add fe80::2/64 dev eth0 nodad", "addr add fd00::2/64 dev eth0 nodad"),
)
ANEW: Script = {
    "start": START,
    "deleted, another one made": Act(lambda stage: stage.lab.new_link("a")),
    "up, with addresses": ip(*MADE_ANEW),
    "higher advert": hear(200),
    "again, as BACKUP": (speak(200), Act(lambda stage: stage.lab.new_link("a"))),
    "and up": ip(*MADE_ANEW),
    "silence": HUSH,
    "stop": STOP,
}
LATE = head("vrrp_startup_delay 2") + vi()
LATES: Script = {
    "start": (START, 5.0),
    "stop": STOP,
    "start beside a lower one": (speak(100), START, 5.0),
    "stop again": (STOP, HUSH),
}
UNTRACKED = head() + vi("dont_track_primary")
UNTRACKEDS: Script = {
    "start": START,
    "carrier lost": UNPLUG,
    "carrier back": PLUG,
    "interface down": ip("link set eth0 down"),
    "interface up": ip("link set eth0 up"),
    "stop": STOP,
}

PAIRED = head() + group("VI_1", "VI_2") + vi() + OTHER
KEPT: Script = {"start": START, "stop": STOP, "start again": START, "stop again": STOP}
FLAPS: Script = {
    "start": START,
    "a short flap": (UNPLUG, Act(lambda stage: time.sleep(0.1)), PLUG),
    "a longer one": (UNPLUG, 2.0),
    "it is over": (PLUG, 4.0),
    "down": (ip("link set eth0 down"), 2.0),
    "up": (ip("link set eth0 up"), 4.0),
    "stop": STOP,
}

PLAYS: dict[str, Play] = {
    "trouble": Play(ONE, TROUBLE),
    "losses": Play(ONE, LOSSES),
    "reload 1": Play(ONE, RELOADS),
    "reload 2": Play(ONE, RELOADS2),
    "reload 3": Play(ONE, RELOADS3, full=True),
    "vmac": Play(VMAC, VMACS),
    "vmac, base": Play(XMIT_BASE, VMACS, full=True),
    "vmac, ipv6": Play(VMAC6, BACK, SIX, full=True),
    "forms": Play(FORMS, FORMED),
    "many": Play(
        MANY, {"start": START, "higher advert": hear(200), "stop": STOP}, Speaker(addresses=MANY_LISTED), full=True
    ),
    "statics": Play(STATIC + head() + vi(), STATICS),
    "dynamic": Play(DYNAMIC, DYNAMICS),
    "kept": Play(ONE, KEPT, full=True, options=("-V",)),
    "kept, vmac": Play(VMAC, KEPT, full=True, options=("-V",)),
    "kept, group": Play(PAIRED, KEPT, full=True, options=("-V",)),
    "flaps": Play("interface_up_down_delays {\n    eth0 0.3 1\n}\n" + head() + vi(), FLAPS, full=True),
    "anew": Play(head("dynamic_interfaces") + vi(), ANEW, full=True),
    "late": Play(LATE, LATES, full=True),
    "untracked": Play(UNTRACKED, UNTRACKEDS, full=True),
}
