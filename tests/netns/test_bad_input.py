"""Packets that are broken or forged, configurations that are wrong, requests that are too much: nothing moves.

protocol.md P04-P40 as far as a kernel is needed, X03; keepalived's defect that a rejected advert silences its master
(keepalived.md 3) is looked for by name. Each kind of packet is counted under its reason.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab import (
    GROUP4,
    Lab,
    Ours,
    checksum,
    config,
    instance,
    ip_packet,
    master_down,
    now,
    vrrp2,
    vrrp3,
)

VIP = "10.0.0.100"
STRANGER = "10.0.0.66"
PASSWORD = "authentication {\nauth_type PASS\nauth_pass secret12\n}"


def patched(message: bytes, offset: int, value: int, *, repair: bool = False) -> bytes:
    """One byte of a VRRPv3/IPv4 message changed; with `repair` its checksum (with the pseudo-header) is right again."""
    changed = message[:offset] + bytes([value]) + message[offset + 1 :]
    return resummed(changed) if repair else changed


def resummed(message: bytes) -> bytes:
    pseudo = socket.inet_aton(STRANGER) + socket.inet_aton(GROUP4) + struct.pack("!BBH", 0, 112, len(message))
    return message[:6] + struct.pack("!H", checksum(pseudo + message[:6] + b"\0\0" + message[8:])) + message[8:]


def strong(**changes: Any) -> bytes:
    """A v3 advert for VRID 51 that would depose anybody."""
    return vrrp3(51, 255, (VIP,), STRANGER, **changes)


def v3_kinds() -> dict[str, tuple[bytes, str]]:
    """{kind: (frame, counter)}: each would move the address if it were believed."""
    good, resign = strong(), vrrp3(51, 0, (VIP,), STRANGER)
    return {
        "ttl 254": (ip_packet(STRANGER, good, ttl=254), "ip_ttl_err"),
        "ttl 1": (ip_packet(STRANGER, good, ttl=1), "ip_ttl_err"),
        "priority 0 with ttl 64": (ip_packet(STRANGER, resign, ttl=64), "ip_ttl_err"),
        "version 2": (ip_packet(STRANGER, vrrp2(51, 255, (VIP,))), "version_err"),
        "version 0": (ip_packet(STRANGER, patched(good, 0, 0x01, repair=True)), "version_err"),
        "version 4": (ip_packet(STRANGER, patched(good, 0, 0x41, repair=True)), "version_err"),
        "type 2": (ip_packet(STRANGER, patched(good, 0, 0x32, repair=True)), "invalid_type_rcvd"),
        "type 7": (ip_packet(STRANGER, patched(good, 0, 0x37, repair=True)), "invalid_type_rcvd"),
        "checksum zero": (ip_packet(STRANGER, good[:6] + b"\0\0" + good[8:]), "checksum_err"),
        "checksum one bit off": (ip_packet(STRANGER, patched(good, 7, good[7] ^ 1)), "checksum_err"),
        "priority 0, checksum off": (ip_packet(STRANGER, patched(resign, 7, resign[7] ^ 1)), "checksum_err"),
        "7 bytes": (ip_packet(STRANGER, good[:7]), "packet_len_err"),
        "header only": (ip_packet(STRANGER, resummed(good[:8])), "packet_len_err"),
        "count 2, one address": (ip_packet(STRANGER, patched(good, 3, 2, repair=True)), "packet_len_err"),
        "8 bytes too many": (ip_packet(STRANGER, resummed(good + bytes(8))), "packet_len_err"),
        "1000 bytes too many": (ip_packet(STRANGER, resummed(good + bytes(1000))), "packet_len_err"),
        "count 0": (ip_packet(STRANGER, vrrp3(51, 255, (), STRANGER)), "addr_list_err"),
        "interval 0": (ip_packet(STRANGER, strong(interval_cs=0)), "advert_interval_err"),
        "own address as source": (ip_packet("10.0.0.2", vrrp3(51, 255, (VIP,), "10.0.0.2")), "own_advert"),
    }


def v2_kinds() -> dict[str, tuple[bytes, str]]:
    good = vrrp2(51, 255, (VIP,), password=b"secret12")
    changed = good[:4] + b"\x03" + good[5:6] + b"\0\0" + good[8:]
    unknown = changed[:6] + struct.pack("!H", checksum(changed)) + changed[8:]
    return {
        "wrong password": (ip_packet(STRANGER, vrrp2(51, 255, (VIP,), password=b"secret13")), "auth_failure"),
        "prefix of the password": (ip_packet(STRANGER, vrrp2(51, 255, (VIP,), password=b"secret1")), "auth_failure"),
        "no authentication": (ip_packet(STRANGER, vrrp2(51, 255, (VIP,))), "authtype_mismatch"),
        "authentication type 3": (ip_packet(STRANGER, unknown), "invalid_authtype"),
        "other interval": (ip_packet(STRANGER, vrrp2(51, 255, (VIP,), interval=2, password=b"secret12")),
                           "advert_interval_err"),
        "version 3": (ip_packet(STRANGER, strong()), "version_err"),
        "without authentication data": (ip_packet(STRANGER, good[:-8]), "packet_len_err"),
    }  # fmt: skip


def v6_kinds() -> dict[str, tuple[bytes, str]]:
    stranger, world = "fe80::66", "fd00::66"
    good = vrrp3(51, 255, VIPS6, stranger)
    return {
        "hop limit 254": (ip_packet(stranger, good, ttl=254), "ip_ttl_err"),
        "priority 0 with hop limit 64": (ip_packet(stranger, vrrp3(51, 0, VIPS6, stranger), ttl=64), "ip_ttl_err"),
        "checksum one bit off": (ip_packet(stranger, good[:7] + bytes([good[7] ^ 1]) + good[8:]), "checksum_err"),
        "source not link-local": (ip_packet(world, vrrp3(51, 255, VIPS6, world)), "source_err"),
        "one address of two": (ip_packet(stranger, good[:24]), "packet_len_err"),
        "interval 0": (ip_packet(stranger, vrrp3(51, 255, VIPS6, stranger, interval_cs=0)), "advert_interval_err"),
    }


VIPS6 = ("fe80::100", "fd00::100")
V3, V2, V6 = v3_kinds(), v2_kinds(), v6_kinds()


def all_counters(daemon: Ours) -> dict[str, int]:
    """The counters of every instance, added up, and those of the whole daemon."""
    status = daemon.status()
    total: dict[str, int] = dict(status.get("counters", {}))
    for entry in status["instances"]:
        for name, value in entry["counters"].items():
            total[name] = total.get(name, 0) + value
    return total


def longest_gap(lab: Lab, host: str, since: float) -> float:
    times = [f.at for f in lab.adverts(host, since=since)]
    return max(b - a for a, b in zip(times, times[1:], strict=False))


@pytest.fixture(scope="module")
def v3_pair() -> Iterator[Lab]:
    with Lab("ab") as lab:
        # Else the kernel itself drops what comes back with our own source address.
        lab["a"].sysctl(net__ipv4__conf__all__accept_local=1)
        lab["a"].run(Ours, config(instance(priority=200)))
        lab["b"].run(Ours, config(instance(priority=100)))
        lab.wait_owner(VIP, "a", 5)
        yield lab


@pytest.fixture(scope="module")
def v2_pair() -> Iterator[Lab]:
    with Lab("ab") as lab:
        for name, priority in (("a", 250), ("b", 100)):
            lab[name].run(Ours, config(instance((f"{VIP}/24",), PASSWORD, version=2, interval=1, priority=priority)))
        lab.wait_owner(VIP, "a", 8)
        yield lab


@pytest.fixture(scope="module")
def v6_pair() -> Iterator[Lab]:
    with Lab("ab") as lab:
        for name, priority in (("a", 200), ("b", 100)):
            lab[name].run(Ours, config(instance(tuple(f"{vip}/64" for vip in VIPS6), priority=priority)))
        lab.wait_owner("fd00::100", "a", 5)
        yield lab


def counts(daemon: Ours, counter: str, wanted: int) -> Callable[[], bool]:
    return lambda: all_counters(daemon).get(counter, 0) >= wanted


def rejected(daemon: Ours) -> int:
    """Packets of every kind that were refused, and those that found the socket's queue full."""
    refused = ("_err", "mismatch", "failure", "_authtype", "_type_rcvd")
    lost = int(daemon.status().get("socket_drops", 0))
    return lost + sum(value for name, value in all_counters(daemon).items() if name.endswith(refused))


def rejected_at_least(daemon: Ours, wanted: float) -> Callable[[], bool]:
    return lambda: rejected(daemon) >= wanted


def rejected_and_counted(lab: Lab, frame: bytes, counter: str, vip: str = VIP) -> None:
    names = "ab"
    if counter == "own_advert":  # to a alone: at b it would be the peer's, and right
        names, frame = "a", bytes.fromhex(lab["a"].mac.replace(":", "")) + frame[6:]
    before = {name: all_counters(lab[name].ours).get(counter, 0) for name in names}
    since = now()
    lab.inject(*[frame] * 3)
    for name in names:
        daemon = lab[name].ours
        try:
            lab.wait(counts(daemon, counter, before[name] + 3), 2, name)
        except AssertionError as late:
            raise AssertionError(f"{name} does not count {counter}: {all_counters(daemon)}") from late
    assert lab.held.owners(vip) == {"a"}
    assert not lab.changes(vip, since)
    assert not lab.adverts("b", since=since)


@pytest.mark.parametrize("kind", V3)
def test_a_bad_packet_is_counted_and_moves_nothing(v3_pair: Lab, kind: str) -> None:
    rejected_and_counted(v3_pair, *V3[kind])


@pytest.mark.parametrize("kind", V2)
def test_a_bad_v2_packet_is_counted_and_moves_nothing(v2_pair: Lab, kind: str) -> None:
    rejected_and_counted(v2_pair, *V2[kind])


def test_p21_a_foreign_virtual_router_is_nothing_to_us(v3_pair: Lab) -> None:
    before = all_counters(v3_pair["a"].ours)
    since = now()
    v3_pair.inject(*[ip_packet(STRANGER, vrrp3(77, 255, (VIP,), STRANGER))] * 50)
    v3_pair.wait(lambda: len(v3_pair.adverts("a", since=since)) > 3, 2, "time passes")
    after = all_counters(v3_pair["a"].ours)
    assert {k: v for k, v in after.items() if v != before.get(k) and k != "advert_sent"} == {}
    assert not v3_pair.changes(VIP, since)


@pytest.mark.parametrize("kind", V6)
def test_a_bad_ipv6_packet_is_counted_and_moves_nothing(v6_pair: Lab, kind: str) -> None:
    rejected_and_counted(v6_pair, *V6[kind], vip="fd00::100")


def to(lab: Lab, name: str, message: bytes, ttl: int = 255, source: str = STRANGER) -> bytes:
    """A unicast frame for one router."""
    frame = ip_packet(source, message, destination=lab[name].address, ttl=ttl)
    return bytes.fromhex(lab[name].mac.replace(":", "")) + frame[6:]


def test_p38_unicast_to_a_multicast_router_is_rejected(v3_pair: Lab) -> None:
    a = v3_pair["a"]
    before = all_counters(a.ours)["destination_err"]
    v3_pair.inject(to(v3_pair, "a", vrrp3(51, 255, (VIP,), STRANGER, destination=a.address)))
    v3_pair.wait(lambda: all_counters(a.ours)["destination_err"] == before + 1, 2, "counted")
    assert v3_pair.held.owners(VIP) == {"a"}


def test_p20_p38_p39_what_a_unicast_router_believes(lab: Lab) -> None:
    """Another hop count is fine unless min_ttl forbids it; a stranger is not when check_unicast_src is on."""
    a, b = lab["a"], lab["b"]
    for me, peer, priority in ((a, b, 200), (b, a, 100)):
        lines = (f"unicast_src_ip {me.address}", f"unicast_peer {{\n{peer.address} min_ttl 60\n}}", "check_unicast_src")
        me.run(Ours, config(instance((f"{VIP}/24",), *lines, priority=priority)))
    lab.wait_owner(VIP, "a", 5)
    since, heard = now(), all_counters(a.ours)["advert_rcvd"]  # b may have been MASTER first
    wrong = {
        "source_err": to(lab, "a", vrrp3(51, 255, (VIP,), STRANGER, destination=a.address)),
        "ip_ttl_err": to(lab, "a", vrrp3(51, 255, (VIP,), b.address, destination=a.address), 59, b.address),
    }
    for counter, frame in wrong.items():
        lab.inject(frame)
        lab.wait(counts(a.ours, counter, 1), 2, f"{counter} is counted")
    lab.inject(ip_packet(b.address, vrrp3(51, 255, (VIP,), b.address)))  # multicast: not even in the group
    lab.inject(to(lab, "a", vrrp3(51, 90, (VIP,), b.address, destination=a.address), 60, b.address))
    lab.wait(lambda: all_counters(a.ours)["advert_rcvd"] == heard + 1, 2, "the last one alone is believed")
    assert lab.held.owners(VIP) == {"a"}
    assert not lab.changes(VIP, since)


def test_p33_p34_an_advert_with_other_addresses_is_believed_and_counted(v2_pair: Lab, v3_pair: Lab) -> None:
    """RFC 9568 7.1, and keepalived since 2.3.3. Before, changing the addresses of a group split it."""
    for lab, frame in (
        (v2_pair, ip_packet(STRANGER, vrrp2(51, 1, ("10.0.0.77",), password=b"secret12"))),
        (v3_pair, ip_packet(STRANGER, vrrp3(51, 1, ("10.0.0.77",), STRANGER))),
    ):
        before = {name: all_counters(lab[name].ours) for name in "ab"}
        lab.inject(frame)
        for name in "ab":

            def counted(name: str = name, lab: Lab = lab, before: dict[str, dict[str, int]] = before) -> bool:
                after = all_counters(lab[name].ours)
                return after["addr_list_err"] == before[name]["addr_list_err"] + 1

            lab.wait(counted, 2, f"{name} counts it")
        assert lab.held.owners(VIP) == {"a"}


def test_p14_a_peer_without_the_pseudo_header_is_understood(lab: Lab) -> None:
    """Cisco, Juniper and Arista send v3 checksums over the message alone (RFC 9568 5.2.8)."""
    a = lab["a"]
    peer = ip_packet(STRANGER, vrrp3(51, 200, ("10.0.0.100",), STRANGER, pseudo=False))
    flood = lab.flood([peer], 10, 60)
    a.run(Ours, config(instance(priority=100)))
    lab.wait(lambda: a.ours.answers() and a.ours.instance()["master"], 2, "it hears the peer")
    lab.steady(lambda: not lab.held.owners(VIP), 0.8, "it stays backup")
    assert a.ours.instance()["master"]["address"] == STRANGER
    assert a.ours.counters()["checksum_err"] == 0
    flood.kill()
    lab.wait_owner(VIP, "a", 2)


def test_rejected_adverts_do_not_silence_the_master(lab: Lab) -> None:
    """keepalived restarts the advert timer of a master after every packet, rejected ones too."""
    lab["a"].run(Ours, config(instance(priority=200, interval=0.2)))
    lab.wait_owner(VIP, "a", 5)
    frame, _ = V3["checksum one bit off"]
    since = now()
    flood = lab.flood([frame], 20, 2)
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 2.2, "a is master")
    flood.communicate()
    assert longest_gap(lab, "a", since) < 0.4
    assert abs(len(lab.adverts("a", since=since)) - 11) <= 1


def test_t10_priority_0_again_and_again_does_not_hold_a_backup_down(lab: Lab) -> None:
    """Each would restart the skew timer (62 ms here) for ever."""
    lab["a"].run(Ours, config(instance(priority=200, interval=0.4)))
    lab["b"].run(Ours, config(instance(priority=100, interval=0.4)))
    lab.wait_owner(VIP, "a", 5)
    lab["a"].daemon.kill()
    last = lab.adverts("a")[-1].at
    flood = lab.flood([ip_packet(STRANGER, vrrp3(51, 0, (VIP,), STRANGER, interval_cs=40))], 50, 1.5)
    lab.wait_owner(VIP, "ab", 3)
    taken = next(f for f in lab.adverts("b", since=last) if f.priority)
    assert taken.at - last <= master_down(100, 0.4) + 0.3
    flood.kill()


@pytest.mark.parametrize("version", [3, 2])
def test_x03_ten_thousand_bad_packets_a_second_at_master_and_backup(lab: Lab, version: int) -> None:
    """Truncated, forged and random ones: no state changes, adverts leave on schedule, everything is counted."""
    interval = 0.1 if version == 3 else 1
    lines = () if version == 3 else (PASSWORD,)
    for name, priority in (("a", 200), ("b", 100)):
        text = config(instance((f"{VIP}/24",), *lines, version=version, interval=interval, priority=priority))
        lab[name].run(Ours, text)
    lab.wait_owner(VIP, "a", 9)
    lab.wait(lambda: len(lab.adverts("a")) > 2, 5, "a adverts")
    dice = random.Random(51)
    good = strong() if version == 3 else vrrp2(51, 255, (VIP,), password=b"secret12")
    frames = [frame for frame, counter in (V3 if version == 3 else V2).values() if counter != "own_advert"]
    frames += [ip_packet(STRANGER, good[:n]) for n in range(2, len(good), 2)]
    for _ in range(100):  # the right id in front, so that the kernel's filter passes them
        noise = bytearray(dice.randbytes(dice.randrange(8, 60)))
        noise[1] = 51
        frames.append(ip_packet(STRANGER, bytes(noise)))
    before = {name: rejected(lab[name].ours) for name in "ab"}
    logged = {name: len(lab[name].daemon.log().splitlines()) for name in "ab"}
    since, seconds = now(), 3
    flood = lab.flood(frames, 10000, seconds)
    sent = int(flood.communicate()[0])
    elapsed = now() - since
    assert sent > 9000 * seconds
    for name in "ab":
        daemon = lab[name].ours
        lab.wait(rejected_at_least(daemon, before[name] + sent * 0.99), 3, f"{name} counted all of {sent}")
        assert daemon.instance()["state"] == ("MASTER" if name == "a" else "BACKUP")
        assert len(daemon.log().splitlines()) - logged[name] < 60, "the log is not flooded"
    assert not lab.changes(VIP, since)
    assert not lab.adverts("b", since=since)
    times = [f.at for f in lab.adverts("a", since=since) if f.at <= since + elapsed]
    assert len(times) >= (seconds - 0.3) / interval - 1
    assert longest_gap(lab, "a", since) < interval * 2


# ------------------------------------------------------------------------------------------ configuration, requests
def test_a_broken_configuration_on_reload_changes_nothing(lab: Lab) -> None:
    a = lab["a"]
    a.run(Ours, config(instance(priority=200)))
    lab.wait_owner(VIP, "a", 5)
    before = a.ours.status()["config"]
    since = now()
    good = a.daemon.config.read_text()
    a.daemon.reload(good.replace("priority 200", "prioritty 200"))
    lab.wait(lambda: "prioritty" in a.daemon.log(), 3, "the diagnostic is in the log")
    log = a.daemon.log()
    assert "daemon.conf:" in log
    assert "did you mean 'priority'" in log
    lab.steady(lambda: lab.held.owners(VIP) == {"a"}, 0.5, "a goes on")
    assert not lab.changes(VIP, since)
    assert longest_gap(lab, "a", since) < 0.3
    assert a.ours.status()["config"] == before
    # The control socket says the same, and a good file works again.
    reply = a.ours.ask("reload")
    assert not reply["ok"]
    assert "prioritty" in json.dumps(reply)
    a.daemon.config.write_text(good.replace("priority 200", "priority 201"))
    reply = a.ours.ask("reload")
    assert reply["ok"], reply
    lab.wait(lambda: lab.adverts("a")[-1].priority == 201, 2, "the new priority is advertised")


def test_a_daemon_refuses_to_start_with_a_broken_configuration(lab: Lab) -> None:
    daemon = lab["a"].run(Ours, config(instance(priority=200)).replace("eth0", "eth0\n    prioritty 3"))
    assert daemon.process is not None
    assert daemon.process.wait(10) == 5
    assert "unknown keyword 'prioritty'" in daemon.log()
    assert not daemon.pidfile.exists()


def test_an_unknown_interface_is_a_fault_that_ends_when_it_comes(lab: Lab) -> None:
    """keepalived does not start at all; here the other instances run, and this one waits for its interface."""
    a = lab["a"]
    a.run(Ours, config(instance(priority=200), instance(("10.7.0.100/24",), name="LATER", vrid=52, interface="eth7")))
    lab.wait_owner(VIP, "a", 5)
    later = a.ours.instance("LATER")
    assert later["state"] == "FAULT"
    assert any("eth7" in fault for fault in later["faults"])
    a.ip(
        "link add eth7 type veth peer name eth8",
        "link set eth8 up",
        "link set eth7 up",
        "addr add 10.7.0.2/24 dev eth7",
    )
    lab.wait_owner("10.7.0.100", "a", 3)
    a.ip("link del eth7")
    lab.wait(lambda: a.ours.instance("LATER")["state"] == "FAULT", 3, "in fault again")
    assert lab.held.owners(VIP) == {"a"}


@pytest.fixture(scope="module")
def single() -> Iterator[Lab]:
    with Lab("a") as lab:
        lab["a"].run(Ours, config(instance(priority=200)))
        lab.wait_owner(VIP, "a", 5)
        yield lab


REQUESTS = {
    "not json": b"hello\n",
    "not an object": b"[1]\n",
    "no command": b"{}\n",
    "unknown command": b'{"cmd":"explode"}\n',
    "number as command": b'{"cmd":1}\n',
    "not utf-8": b'{"cmd":"\xff\xfe"}\n',
    "empty line": b"\n",
    "nested deeper than a stack": b"[" * 50000 + b"\n",
    "oversized": b'{"cmd":"' + b"x" * 70000 + b'"}\n',
    "without an instance": b'{"cmd":"handover"}\n',
    "unknown instance": b'{"cmd":"handover","instance":"NOPE"}\n',
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_malformed_or_oversized_request_is_answered_with_an_error(single: Lab, kind: str) -> None:
    daemon = single["a"].ours
    since = now()
    with daemon.connect() as sock:
        try:
            sock.sendall(REQUESTS[kind])
        except (BrokenPipeError, ConnectionResetError):
            assert kind == "oversized"
        try:
            line = sock.makefile("rb").readline()
        except ConnectionResetError:
            assert kind == "oversized"
            line = b""
    if line:
        reply = json.loads(line)
        assert reply["ok"] is False
        assert reply["error"]
    else:
        assert kind in ("oversized", "empty line")
    assert daemon.answers(), "the next client is served"
    assert not single.changes(VIP, since)


def test_a_client_that_only_connects_does_not_hinder_others(single: Lab) -> None:
    daemon = single["a"].ours
    since = now()
    idle = [daemon.connect() for _ in range(14)]
    try:
        single.wait(daemon.answers, 3, "a client among idle ones is served")
        # One too many is told so, and closed, instead of being left to wait.
        idle += [daemon.connect() for _ in range(6)]
        idle[-1].settimeout(3)
        line = idle[-1].makefile("rb").readline()
        assert line == b"" or json.loads(line)["ok"] is False
    finally:
        for sock in idle:
            sock.close()
    single.wait(daemon.answers, 3, "served again")
    single.wait(lambda: len(single.adverts("a", since=since)) > 4, 2, "adverts go on")
    assert longest_gap(single, "a", since) < 0.3


def test_a_request_sent_in_single_bytes_is_understood(single: Lab) -> None:
    daemon = single["a"].ours
    with daemon.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for byte in b'{"cmd":"status"}\n':
            sock.send(bytes([byte]))
        assert json.loads(sock.makefile("rb").readline())["ok"] is True


def test_the_control_socket_is_not_for_everybody(single: Lab) -> None:
    daemon = single["a"].ours
    assert os.stat(daemon.socket_path).st_mode & 0o777 in (0o660, 0o600)
