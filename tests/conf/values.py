"""Small sound files in which one keyword has one value, made from the keyword table: what lies at its bounds and near.

`cases()` yields (name, text): for a number below, at and above each bound, signs, fractions, other bases; each word of
a set and what is nearly one; no value and too many. `BASES` are the files that the line is put into; a line of the
same keyword gives way to it. Where a keyword means something only beside another one, that stands in `BESIDE`.
"""

from __future__ import annotations

from collections.abc import Iterator

from vrrpd.conf.schema import Keyword
from vrrpd.model.blocks import BLOCKS

SECURE = "script_user root\nenable_script_security"
INSTANCE = """
vrrp_instance VI_1 {
interface eth0
virtual_router_id 5
virtual_ipaddress { 192.0.2.1 }
@
}"""
BARE = INSTANCE.replace("@\n", "")
TRACKING = INSTANCE.replace("@", "%s { x }")
BASES = {
    "": f"@\n{BARE}",
    "global_defs": f"global_defs {{\n{SECURE}\n@\n}}\n{BARE}",
    "vrrp_instance": f"global_defs {{\n{SECURE}\n}}{INSTANCE}",
    "vrrp_sync_group": f"global_defs {{\n{SECURE}\n}}"
    + BARE
    + BARE.replace("VI_1", "VI_2").replace("id 5", "id 6").replace("192.0.2.1", "192.0.2.2")
    + "\nvrrp_sync_group G {\ngroup { VI_1 VI_2 }\n@\n}",
    "vrrp_script": f"global_defs {{\n{SECURE}\n}}"
    + "\nvrrp_script x {\nscript /bin/true\n@\n}"
    + TRACKING % "track_script",
    "track_file": "track_file x {\nfile /run/vrrpd-no-such-file\n@\n}" + TRACKING % "track_file",
    "vrrp_track_process": "vrrp_track_process x {\nprocess no-such\n@\n}" + TRACKING % "track_process",
    "garp_group": "garp_group {\ngarp_interval 1\ninterface eth0\n@\n}" + BARE,
    "authentication": INSTANCE.replace("@", "authentication {\nauth_type PASS\nauth_pass x\n@\n}"),
}
TRACKED = {
    "track_interface": "",
    "track_script": "vrrp_script x {\nscript /bin/true\n}\n",
    "track_file": "track_file x {\nfile /run/vrrpd-no-such-file\n}\n",
    "track_process": "vrrp_track_process x {\nprocess no-such\n}\n",
}
BESIDE = {
    "timer_expired_backup": "nopreempt",
    "thread_timer_expired": "nopreempt",
    "unicast_src_ip": "unicast_peer { 192.0.2.12 }",
    "unicast_ttl": "unicast_peer { 192.0.2.12 }",
    "check_unicast_src": "unicast_peer { 192.0.2.12 }",
    "old_unicast_checksum": "unicast_peer { 192.0.2.12 }",
    "unicast_fault_no_peer": "unicast_peer { 192.0.2.12 }",
    "track_src_ip": "mcast_src_ip 192.0.2.9",
    "vmac_xmit_base": "use_vmac",
    "garp_extra_if": "use_vmac",
    "vmac_garp_intvl": "use_vmac",
    "param_match": "process no-such argument",
    "notify_fifo_script": "notify_fifo /tmp/vrrpd-no-such-fifo",
    "vrrp_notify_fifo_script": "vrrp_notify_fifo /tmp/vrrpd-no-such-fifo",
}
# Values that no type tells: what a converter of its own takes and refuses.
WORDS = {
    "max_auto_priority": "|-2|-1|0|1|99|100|x|1.5",
    "vrrp_cpu_affinity": "|0|0 1|-1|x|1.5|4096",
    "umask": "|0|022|0777|01000|0x1f|777|512|IWGRP|IWGRP|IWOTH|IWGRP IWOTH|IFOO|8|09|x",
    "vrrp_rx_bufs_policy": "|MTU|ADVERT|NO_SEND_RX|mtu|0|1|4294967295|4294967296|-1|1.5|x",
    "dynamic_interfaces": "|allow_if_changes|x|yes",
    "smtp_server": "|192.0.2.25|192.0.2.25 25|192.0.2.25 0|192.0.2.25 1|192.0.2.25 65535|192.0.2.25 65536|192.0.2.25 x",
    "vrrp_garp_extra_if": "|1|all|all 0|all 1|all x|0|0.000001|0.5|86400|86400.000001|86401|-1|x|1 2|1 all",
    "vrrp_iptables": "|IN|IN OUT|IN OUT MORE",
    "vrrp_ipsets": "|a|a b|a b c",
    "nftables": "|name|a-b|name more",
    "timer_expired_backup": "|1|0|254|255|-1|x|1.5|1 2",
    "old_unicast_checksum": "|never|x|NEVER|never more",
    "mcast_src_ip": "|192.0.2.9|192.0.2.9/24|224.0.0.18|fe80::1|192.0.2|x|192.0.2.9 192.0.2.8",
    "unicast_src_ip": "|192.0.2.9|192.0.2.9/24|224.0.0.18|fe80::1|192.0.2|x|192.0.2.9 192.0.2.8",
    "mcast_dst_ip": "|224.0.0.18|224.0.0.19|239.255.255.255|192.0.2.9|ff02::12|x|224.0.0.18 224.0.0.19",
    "vrrp_mcast_group4": "|224.0.0.18|224.0.0.0|239.255.255.255|240.0.0.1|223.255.255.255|192.0.2.9|ff02::12|x",
    "vrrp_mcast_group6": "|ff02::12|ff12::1|ff01::1|ff05::1|fe80::1|224.0.0.18|x",
    "skip_check_adv_addr": "|yes|no|on|off|true|false|x|Yes|1",
    "interface": "|eth0|lo|a-name-that-is-long|eth0 eth1",
    "use_vmac": "|vrrp.9|00:00:5e:00:01:05|vrrp.9 00:00:5e:00:01:05|00:00:5e:00:01|a-name-that-is-long|x/y|vrrp.9 x",
    "use_ipvlan": "|vrrp.9|bridge|private|vepa|x/y|a-name-that-is-long|192.0.2.77|vrrp.9 bridge|vrrp.9 192.0.2.77 vepa",
    "init_file": "|0|5|-5|overwrite|5 overwrite|overwrite 5|x|1.5|1 2",
    "auth_pass": "|x|12345678|123456789|x y",
    "user": "|root|root root|root:root|root :root|no-such-user|root no-such-group|root root root",
    "script_user": "|root|root root|root:root|root :root|no-such-user|root no-such-group|root root root",
    "process": '|no-such|"no such"|no-such -x|"no-such" -x "y z"',
    "script": '|/bin/true|"/bin/true x"|/bin/true x|/no/such|""|</etc/passwd|"/bin/true \'x"',
    "notify": '|/bin/true|"/bin/true x"|/bin/true root|/bin/true root root|/bin/true root :root|/bin/true no-such-user'
    '|/no/such|""|/bin/true x y z',
    "interface_up_down_delays": "{ eth0 }|{ eth0 0 }|{ eth0 1 }|{ eth0 -1 }|{ eth0 1.5 0.5 }|{ eth0 1 255 }"
    "|{ eth0 1 255.000001 }|{ eth0 1 256 }|{ eth0 1 2 3 }|{ eth0 x }|{ eth0 1 x }|{ eth0 1.1234567 }|{ }|",
    "unicast_peer": "{ 192.0.2.12 }|{ 192.0.2.12 min_ttl }|{ 192.0.2.12 min_ttl 0 }|{ 192.0.2.12 min_ttl 1 }"
    "|{ 192.0.2.12 min_ttl 255 }|{ 192.0.2.12 min_ttl 256 }|{ 192.0.2.12 min_ttl -1 }|{ 192.0.2.12 min_ttl x }"
    "|{ 192.0.2.12 max_ttl 0 }|{ 192.0.2.12 max_ttl 255 }|{ 192.0.2.12 max_ttl 256 }|{ 192.0.2.12 min_ttl 5 max_ttl 4 }"
    "|{ 192.0.2.12 min_ttl 4 max_ttl 5 }|{ 192.0.2.12 ttl 5 }|{ 224.0.0.18 }|{ x }|{ 192.0.2.12 192.0.2.13 }|{ }|",
    "notification_email": "{ a@b }|{ a@b c@d }|{ }|",
    "group": "{ VI_1 }|{ VI_1 VI_2 }|{ VI_1 VI_2 VI_3 }|{ VI_1 VI_1 }|{ }|",
    "interfaces": "{ eth0 }|{ eth0 eth0 }|{ }|",
}
SAME = {
    "vrrp_vmac_garp_intvl": "vrrp_garp_extra_if",
    "garp_extra_if": "vrrp_garp_extra_if",
    "vmac_garp_intvl": "vrrp_garp_extra_if",
    "thread_timer_expired": "timer_expired_backup",
}
# What would touch this machine, or stands for a name or a text that may be anything.
NOT_ASKED = {
    "net_namespace": "keepalived would enter it",
    "config_save_dir": "keepalived would write there",
    "include_check": "obeyed while the file is read: ok/includes.conf",
    "virtual_ipaddress": "the grammar of its lines: test_oracle.py, bad/address_options.conf",
    "virtual_ipaddress_excluded": "the same",
    "static_ipaddress": "the same",
    **dict.fromkeys(("static_routes", "static_rules", "virtual_routes", "virtual_rules"), "test_iproute2.py"),
    "track_group": "it needs static items",
}


def cases() -> Iterator[tuple[str, str, str]]:
    """(block.keyword, line, text) of every keyword that keepalived may know; the first of a keyword is a sound one."""
    for block, base in BASES.items():
        for row in BLOCKS[block].keywords.values():
            if row.supported and not row.ours and row.type.form != "block" and row.name not in NOT_ASKED:
                for value in values(row):
                    line = f"{row.name} {value}".strip()
                    yield f"{block}.{row.name}".lstrip("."), line, written(base, row.name, line)


def written(base: str, keyword: str, line: str) -> str:
    """`base` with this line at its place; what it needs beside it; a line of the same keyword gives way."""
    beside = BESIDE.get(keyword, "")
    gone = {keyword, beside.split(" ")[0]}
    blocks = base.split("\n}")  # of which one has the place
    for number, block in enumerate(blocks):
        if "@" in block:
            blocks[number] = "\n".join(old for old in block.split("\n") if old.split(" ")[0] not in gone or not old)
    text = "\n}".join(blocks).replace("@", f"{beside}\n{line}".strip())
    text = TRACKED.get(keyword, "") + text if base in (BASES["vrrp_instance"], BASES["vrrp_sync_group"]) else text
    return blocks_on_lines(text)


def blocks_on_lines(text: str) -> str:
    """A brace ends its line: each item of a block on one of its own."""
    return text.strip().replace("{ ", "{\n").replace(" }", "\n}") + "\n"


def values(row: Keyword) -> list[str]:
    kind = row.type
    words = WORDS.get(SAME.get(row.name, row.name))
    if kind.type == "trackers":
        most = 254 if row.name in ("track_file", "track_process") else 253
        name = "lo" if row.name == "track_interface" else "x"  # its own it tracks in any case
        weights = [*(str(n) for n in (-most - 2, -most - 1, -most, 0, most, most + 1, most + 2)), "+5", "1.5", "x", ""]
        ends = [
            "",
            *(f"weight {w}".strip() for w in weights),
            "weight 5 reverse",
            "weight 5 noreverse",
            "weight 5 x",
            "x",
        ]
        return [f"{{ {name} {end}".strip() + " }" for end in ends]
    if kind.type == "script":
        words = WORDS["script" if row.name == "script" else "notify"]
    if words is not None:
        return sorted(words.split("|"), key=lambda word: not word)  # nothing at all is rarely sound
    if kind.minimum is not None:
        return numbers(kind.type, kind.minimum, kind.maximum or 0)
    if kind.form == "bool":
        return ["", *kind.choices, "Yes", "ON", "1", "x", "yes no"]
    if kind.form == "flag":
        return ["", "yes", "no"]
    if kind.choices:
        choices = list(kind.choices)
        return [*choices, "", choices[0].swapcase(), choices[0] + "X", f"{choices[0]} more"]
    if kind.type == "path":
        return ["/tmp/x", "", "/tmp/x more", "x"]
    if kind.type == "path user group":
        return ["/tmp/vrrpd-no-such-fifo root", "", "/tmp/vrrpd-no-such-fifo root root more"]
    if kind.type == "interface":
        return ["eth0", "", "a-name-that-is-long", "eth0 more"]
    if kind.type == "string":
        return ["x", "", "x more", "a-name-that-is-longer-than-fifteen"]
    raise AssertionError(f"what may {row.name} be? Add it to WORDS")


def numbers(kind: str, low: float, high: float) -> list[str]:
    """Below, at and above each bound, and what is no such number."""
    if kind == "seconds":
        step, inner = 0.000001, [low, low + 1, high]
        found = [*inner, low - step, high + step, high + 1]
        ways = [f"{value:.6f}".rstrip("0").rstrip(".") for value in found]
    else:
        ways = [str(int(value)) for value in (low, low + 1, high, low - 1, high + 1)]
    other = ["", "+1", "-1", "1.5", "0.5", "1.", ".5", "1.0", "1.1234567", "0x10", "010", "1e1", "x", "1x", "1 2"]
    other += ["99999999999999999999", "2147483648", "-2147483649", "4294967296", '"1"', "5,5"]
    if kind == "weight":
        other += ["5 reverse", "5 noreverse", "5 x", "5 reverse x"]
    return list(dict.fromkeys(ways + other))
