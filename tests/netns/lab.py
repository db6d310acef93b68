"""A network laboratory out of anonymous namespaces: routers and a client on one bridge, watched closely.

Owns: namespaces and links, daemons (`Keepalived`, `Ours`, `Frr`) started in them, a watcher that timestamps every
frame of VRRP, ARP and neighbour discovery and every change of an address, an injector of raw packets, a prober.
Leaves to others: what is right. The packet and frame readers and writers here are written from the RFCs, not with
the daemon's own code, so that they are a second opinion on it.

Namespaces have no name: a thread unshares one and keeps a descriptor of it. They live as long as this process or a
daemon in them, and daemons die with us (PR_SET_PDEATHSIG), so nothing is left behind even after SIGKILL. Everything
happens inside of them; the machine's own interfaces never see a packet. Needs root, iproute2 and util-linux.

Tests wait on conditions with deadlines (`Lab.wait`) and never sleep a fixed time to let something happen.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, NamedTuple, Union

ROOT = Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
PIDFD_GETFD = 438
SO_TIMESTAMPNS = 35
SO_ATTACH_FILTER = 26
ETH_P_ALL = 3
PACKET_OUTGOING = 4
VRRP, AH = 112, 51
AH_LENGTH = 24  # RFC 2402 2, with HMAC-MD5-96
PATIENCE = 8.0
# Counters of a router that say nothing of a packet that was refused (vrrpd/vrrp/records.py).
BELIEVED = {
    "advert_rcvd", "advert_sent", "become_master", "release_master", "pri_zero_rcvd", "pri_zero_sent", "own_advert",
    "ignored", "lower_priority_rcvd", "master_changes",
}  # fmt: skip
GROUP4, GROUP6 = "224.0.0.18", "ff02::12"
now = time.monotonic


def clock_offset(wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = now) -> float:
    """The wall clock's lead over the monotonic one, in seconds.

    Read between two readings of the monotonic clock, several times: a process that is put aside between two clocks
    moves whatever it converts by that time, and a busy machine puts aside for 20 ms.
    """
    readings = []
    for _ in range(5):
        before, at, after = monotonic(), wall(), monotonic()
        readings.append((after - before, at - before))
    return min(readings)[1]


def stamp(control: bytes) -> float:
    """When the kernel saw a frame (SO_TIMESTAMPNS), on the wall clock: the test's own lateness does not count."""
    seconds, nanoseconds = struct.unpack("@ll", control[:16])
    return float(seconds + nanoseconds / 1e9)


_libc = ctypes.CDLL(None, use_errno=True)


# ---------------------------------------------------------------------------------------------- namespaces
def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def new_namespace() -> int:
    """A descriptor of a fresh network namespace."""
    made: list[int] = []

    def unshare() -> None:
        if not _libc.unshare(CLONE_NEWNET):
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))

    thread = threading.Thread(target=unshare)
    thread.start()
    thread.join()
    if not made:
        raise PermissionError("cannot make a network namespace: the netns tests run as root")
    return made[0]


@contextlib.contextmanager
def in_namespace(fd: int) -> Iterator[None]:
    """The calling thread is inside; sockets and processes made here stay there."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _setns(fd)
        yield
    finally:
        _setns(here)
        os.close(here)


# ---------------------------------------------------------------------------------------------- what was seen
class Advert(NamedTuple):
    """A VRRP message on the wire. `message` is the VRRP part, `priority` 0 is a resignation."""

    at: float
    host: str
    source: str
    destination: str
    ttl: int
    tos: int
    version: int
    vrid: int
    priority: int
    addresses: tuple[str, ...]
    message: bytes
    frame: bytes


class Garp(NamedTuple):
    """A gratuitous ARP: sender and target address are the same."""

    at: float
    host: str
    address: str
    mac: str
    frame: bytes


class Na(NamedTuple):
    """An unsolicited or solicited neighbour advertisement (RFC 4861 4.4)."""

    at: float
    host: str
    address: str
    destination: str
    flags: int
    frame: bytes


Frame = Union[Advert, Garp, Na]


class AddressEvent(NamedTuple):
    at: float
    host: str
    added: bool
    address: str
    flags: int


def text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def read_advert(at: float, host: str, frame: bytes) -> Advert:
    if frame[12:14] == b"\x08\x00":
        head = (frame[14] & 15) * 4
        head += AH_LENGTH if frame[23] == AH else 0
        message = frame[14 + head : 14 + int.from_bytes(frame[16:18], "big")]
        source, destination, ttl, tos, size = frame[26:30], frame[30:34], frame[22], frame[15], 4
    else:
        message = frame[54 : 54 + int.from_bytes(frame[18:20], "big")]
        tos = (frame[14] & 15) << 4 | frame[15] >> 4
        source, destination, ttl, size = frame[22:38], frame[38:54], frame[21], 16
    count = message[3] if len(message) > 3 else 0
    addresses = [message[8 + size * i : 8 + size * (i + 1)] for i in range(count)]
    return Advert(
        at, host, text(source), text(destination), ttl, tos, message[0] >> 4, message[1], message[2],
        tuple(text(a) for a in addresses if len(a) == size), message, frame,
    )  # fmt: skip


def read_frame(at: float, host: str, frame: bytes) -> Frame | None:
    kind = frame[12:14]
    if kind == b"\x08\x06":
        if frame[28:32] == frame[38:42]:
            return Garp(at, host, text(frame[28:32]), frame[22:28].hex(":"), frame)
    elif (kind == b"\x08\x00" and frame[23] in (VRRP, AH)) or (kind == b"\x86\xdd" and frame[20] == VRRP):
        return read_advert(at, host, frame)
    elif kind == b"\x86\xdd" and frame[20] == 58 and frame[54] == 136:
        return Na(at, host, text(frame[62:78]), text(frame[38:54]), frame[58], frame)
    return None


# ---------------------------------------------------------------------------------------------- writing packets
def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def pseudo_header(source: str, destination: str, length: int) -> bytes:
    a, b = packed(source), packed(destination)
    return a + b + (struct.pack("!BBH", 0, VRRP, length) if len(a) == 4 else struct.pack("!IHBB", length, 0, 0, VRRP))


def vrrp2(vrid: int, priority: int, addresses: tuple[str, ...], *, interval: int = 1, password: bytes = b"") -> bytes:
    """A VRRPv2 message (RFC 3768 5.1), with simple text authentication if there is a password (RFC 2338 5.3.10)."""
    head = struct.pack("!BBBBBBH", 0x21, vrid, priority, len(addresses), 1 if password else 0, interval, 0)
    body = b"".join(map(packed, addresses)) + password[:8].ljust(8, b"\0")
    return head[:6] + struct.pack("!H", checksum(head + body)) + body


def vrrp3(
    vrid: int, priority: int, addresses: tuple[str, ...], source: str, *,
    interval_cs: int = 10, destination: str = "", pseudo: bool = True,
) -> bytes:  # fmt: skip
    """A VRRPv3 message (RFC 9568 5.1). `pseudo`: with the pseudo-header in the IPv4 checksum, as keepalived does."""
    destination = destination or (GROUP6 if ":" in source else GROUP4)
    head = struct.pack("!BBBBHH", 0x31, vrid, priority, len(addresses), interval_cs, 0)
    body = b"".join(map(packed, addresses))
    summed = (pseudo_header(source, destination, 8 + len(body)) if pseudo or ":" in source else b"") + head + body
    return head[:6] + struct.pack("!H", checksum(summed)) + body


def ip_packet(source: str, message: bytes, *, destination: str = "", ttl: int = 255, protocol: int = VRRP) -> bytes:
    """`message` in an Ethernet frame from `source` to the group or to `destination` (whose MAC is not asked)."""
    if ":" in source:
        destination = destination or GROUP6
        head = struct.pack("!IHBB", 0x6C000000, len(message), protocol, ttl) + packed(source) + packed(destination)
        mac = bytes.fromhex("333300000012")
    else:
        destination = destination or GROUP4
        head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + len(message), 1, 0, ttl, protocol, 0)
        head += packed(source) + packed(destination)
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        mac = bytes.fromhex("01005e000012")
    kind = b"\x86\xdd" if ":" in source else b"\x08\x00"
    return mac + bytes.fromhex("020000000063") + kind + head + message


# ---------------------------------------------------------------------------------------------- filters, netlink
def attach_filter(sock: socket.socket, program: list[tuple[int, int, int, int]]) -> None:
    """A classic BPF program: (code, jump if true, jump if false, k) each."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *i) for i in program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))


LD_TYPE, LD_ETHER, LD_BYTE = 0x20, 0x28, 0x30  # ld [k] of a word, half word, byte; ancillary data at SKF_AD_OFF
JEQ, RET = 0x15, 0x06
SKF_PKTTYPE, SKF_IFINDEX = 0xFFFFF004, 0xFFFFF008


def watch_filter(deaf: list[int]) -> list[tuple[int, int, int, int]]:
    """Received frames of VRRP, ARP and ICMPv6, except from the interfaces `deaf`."""
    body: list[tuple[int, int, int, int]] = [
        (LD_ETHER, 0, 0, 12),
        (JEQ, 9, 0, 0x0806),
        (JEQ, 0, 4, 0x0800),
        (LD_BYTE, 0, 0, 23),
        (JEQ, 6, 0, VRRP),
        (JEQ, 5, 0, AH),
        (RET, 0, 0, 0),
        (JEQ, 0, 4, 0x86DD),
        (LD_BYTE, 0, 0, 20),
        (JEQ, 1, 0, VRRP),
        (JEQ, 0, 1, 58),
        (RET, 0, 0, 0xFFFF),
        (RET, 0, 0, 0),
    ]
    head: list[tuple[int, int, int, int]] = [(LD_TYPE, 0, 0, SKF_PKTTYPE), (JEQ, 0, 1, PACKET_OUTGOING), (RET, 0, 0, 0)]
    for index in deaf:
        head += [(LD_TYPE, 0, 0, SKF_IFINDEX), (JEQ, 0, 1, index), (RET, 0, 0, 0)]
    return head + body


RTM_NEWADDR, RTM_DELADDR = 20, 21


def address_events(data: bytes) -> Iterator[tuple[bool, str, int]]:
    """(added, address, flags) of a datagram of rtnetlink messages."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16:
            return
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            found, flags, at = b"", 0, offset + 24
            while at + 4 <= offset + length:
                size, attribute = struct.unpack_from("=HH", data, at)
                if size < 4:
                    break
                if attribute == 2 or (attribute == 1 and not found):  # IFA_LOCAL, else IFA_ADDRESS
                    found = data[at + 4 : at + size]
                elif attribute == 8:  # IFA_FLAGS
                    flags = struct.unpack_from("=I", data, at + 4)[0]
                at += (size + 3) & ~3
            if found:
                yield kind == RTM_NEWADDR, text(found), flags
        offset += (length + 3) & ~3


# ---------------------------------------------------------------------------------------------- hosts
class Host:
    """One namespace with eth0 on the bridge: 10.0.0.N/24, fd00::N/64, fe80::N; MAC 02:00:00:00:00:0N."""

    def __init__(self, lab: Lab, name: str, number: int) -> None:
        self.lab, self.name, self.number = lab, name, number
        self.namespace = new_namespace()
        self.address, self.address6, self.link_local = f"10.0.0.{number}", f"fd00::{number}", f"fe80::{number}"
        self.mac = f"02:00:00:00:00:{number:02x}"
        self.folder = lab.folder / name
        self.folder.mkdir()
        self.daemons: list[Daemon] = []

    def own_addresses(self) -> list[str]:
        """The commands that give eth0 its addresses."""
        six = (f"addr add {address}/64 dev eth0 nodad" for address in (self.link_local, self.address6))
        return [f"addr add {self.address}/24 dev eth0", *six]

    def inside(self) -> contextlib.AbstractContextManager[None]:
        return in_namespace(self.namespace)

    def ip(self, *lines: str, check: bool = True) -> str:
        """iproute2 commands, all in one process."""
        with self.inside():
            done = subprocess.run(
                ["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, capture_output=True, check=False
            )
        if check and done.returncode:
            raise AssertionError(f"{self.name}: ip {'; '.join(lines)}: {done.stderr.strip()}")
        return done.stdout

    def command(self, *argv: str, check: bool = True) -> str:
        with self.inside():
            done = subprocess.run(argv, text=True, capture_output=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {' '.join(argv)}: {done.stdout} {done.stderr}")
        return done.stdout

    def sysctl(self, **values: object) -> None:
        """sysctl(net__ipv4__ip_forward=1): in this namespace only."""
        with self.inside():
            for key, value in values.items():
                Path("/proc/sys", *key.split("__")).write_text(str(value))

    def addresses(self) -> dict[str, set[str]]:
        """{address: flags} on eth0 now, asked from the kernel."""
        out = json.loads(self.command("ip", "-j", "addr", "show", "dev", "eth0") or "[]")
        known = {"tentative", "nodad", "dadfailed", "permanent", "deprecated", "secondary", "noprefixroute"}
        return {
            info["local"]: {flag for flag in known if info.get(flag)}
            for link in out for info in link.get("addr_info", ()) if "local" in info
        }  # fmt: skip

    def run(self, kind: type[Daemon], config: str, **options: Any) -> Daemon:
        """Start a daemon; `daemon` is the last one started here."""
        daemon = kind(self, config, **options)
        self.daemons.append(daemon)
        daemon.start()
        return daemon

    @property
    def daemon(self) -> Daemon:
        return self.daemons[-1]

    @property
    def ours(self) -> Ours:
        """The last daemon, which must be one of ours: it can be asked."""
        assert isinstance(self.daemon, Ours)
        return self.daemon

    def pids(self) -> list[int]:
        """Every process whose network namespace this is."""
        mine, pids = os.fstat(self.namespace).st_ino, []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                with contextlib.suppress(OSError):
                    if os.stat(f"/proc/{entry}/ns/net").st_ino == mine:
                        pids.append(int(entry))
        return pids

    def close(self) -> None:
        for daemon in self.daemons:
            daemon.kill()
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.close(self.namespace)


# ---------------------------------------------------------------------------------------------- daemons
def children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += [int(child), *children(int(child))]
    return found


class Daemon:
    """A VRRP daemon that reads keepalived.conf, in a host's namespace. Its output goes to `log`."""

    name = "?"

    def __init__(self, host: Host, config: str, tag: str = "", options: tuple[str, ...] = ()) -> None:
        self.host = host
        self.folder = host.folder / f"{self.name}{tag or len(host.daemons)}"
        self.folder.mkdir()
        self.config, self.logfile = self.folder / "daemon.conf", self.folder / "log"
        self.pidfile, self.vrrp_pidfile = self.folder / "main.pid", self.folder / "vrrp.pid"
        self.config.write_text(config)
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def argv(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with self.host.inside(), open(self.logfile, "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.argv(), *self.options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def pids(self) -> list[int]:
        return [self.pid, *children(self.pid)] if self.running() else []

    def vrrp_pid(self) -> int:
        return int(self.vrrp_pidfile.read_text())

    def log(self) -> str:
        return self.logfile.read_text(errors="replace") if self.logfile.exists() else ""

    def signal(self, number: int, pids: list[int] | None = None) -> None:
        for pid in self.pids() if pids is None else pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, timeout: float = 10) -> int:
        """The planned stop; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def wait(self, timeout: float = 10) -> int:
        """Until it has ended; its exit status."""
        assert self.process is not None
        return self.process.wait(timeout)

    def terminate(self) -> None:
        """Ask for the planned stop and do not wait for it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Every process at once, as a crash of the whole daemon would: none may act on the death of another."""
        if self.running():  # first it can have no more children than are found then
            self.signal(signal.SIGSTOP, [self.pid])
            end = now() + 10
            with contextlib.suppress(OSError):
                while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TZ":
                    assert now() < end, "it does not stop"
                    time.sleep(0.0005)
        pids = self.pids()
        self.signal(signal.SIGSTOP, pids)
        self.signal(signal.SIGKILL, pids[::-1])
        if self.process is not None:
            self.process.wait(10)
        for path in (self.pidfile, self.vrrp_pidfile):
            path.unlink(missing_ok=True)

    def reload(self, config: str | None = None) -> None:
        assert self.process is not None
        if config is not None:
            fresh = self.config.with_suffix(".new")  # never half of it: another reload may be reading
            fresh.write_text(config)
            fresh.replace(self.config)
        self.process.send_signal(signal.SIGHUP)


class Keepalived(Daemon):
    name = "keepalived"
    binary = shutil.which("keepalived", path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")

    def argv(self) -> list[str]:
        assert self.binary, "keepalived is not installed: apt-get install --no-install-recommends keepalived"
        files = ["-f", str(self.config), "-p", str(self.pidfile), "-r", str(self.vrrp_pidfile)]
        return [self.binary, "-n", "-l", "-D", "-P", *files]


class Frr(Daemon):
    """FRR's zebra and vrrpd; the configuration is FRR's own. Its virtual address lies on a macvlan that we make."""

    name = "frr"
    folder_of_programs = Path("/usr/lib/frr")

    def start(self) -> None:
        program = self.folder_of_programs / "vrrpd"
        assert program.exists(), "FRR is not installed: apt-get install --no-install-recommends frr"
        self._macvlan()
        # It runs as the user its package made, who may reach the folder and write into it.
        shutil.chown(self.folder, "frr", "frr")
        for folder in (self.host.lab.folder, self.host.folder):
            folder.chmod(0o711)
        zebra_socket = self.folder / "zserv"
        zebra_socket.unlink(missing_ok=True)
        (self.folder / "zebra.conf").write_text("\n")
        common = ["-P", "0", "-u", "frr", "-g", "frr", "--vty_socket", str(self.folder), "-z", str(zebra_socket)]
        zebra = [str(self.folder_of_programs / "zebra"), *common, "-f", str(self.folder / "zebra.conf")]
        self._command = [str(program), *common, "-f", str(self.config), "-i", str(self.pidfile)]
        with self.host.inside(), open(self.logfile, "ab") as log:
            self.zebra = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *zebra, "-i", str(self.folder / "zebra.pid")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.host.lab.wait(zebra_socket.exists, 5, "zebra listens")
        super().start()

    def argv(self) -> list[str]:
        return self._command

    def _macvlan(self) -> None:
        words = self.config.read_text().split()
        vrid = int(words[words.index("vrrp") + 1])
        six = "ipv6" in words
        address = words[words.index("ipv6" if six else "ip") + 1]
        # Both routers have the address, the backup on a link that is down: it must not answer ARP for it.
        self.host.sysctl(net__ipv4__conf__all__arp_ignore=1)
        self.host.ip("link del vrrp0", check=False)
        self.host.ip(
            "link add vrrp0 link eth0 type macvlan mode bridge",
            f"link set vrrp0 address 00:00:5e:00:0{2 if six else 1}:{vrid:02x}",
            f"link set vrrp0 addrgenmode {'random' if six else 'none'}",
            "link set vrrp0 protodown on",
            f"addr add {address}/{64 if six else 24} dev vrrp0{' nodad' if six else ''}",
            "link set vrrp0 up",
        )

    def kill(self) -> None:
        super().kill()
        self.zebra.kill()
        self.zebra.wait(10)


class Ours(Daemon):
    name = "ours"

    def argv(self) -> list[str]:
        files = ["-f", str(self.config), "-p", str(self.pidfile), "-r", str(self.vrrp_pidfile)]
        return [sys.executable, "-m", "vrrpd", "-n", "-l", *files]

    @property
    def socket_path(self) -> str:
        return f"{self.pidfile}.d/control.sock"

    def connect(self, timeout: float = 5) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        try:
            sock.connect(self.socket_path)
        except OSError:
            sock.close()
            raise
        return sock

    def ask(self, cmd: str, **arguments: Any) -> dict[str, Any]:
        """One request to the control socket."""
        with self.connect() as sock:
            sock.sendall(json.dumps({"cmd": cmd, **arguments}).encode() + b"\n")
            reply = sock.makefile("rb").readline()
        parsed: dict[str, Any] = json.loads(reply)
        return parsed

    def processes(self) -> dict[str, int]:
        """The pids of guard, vrrp and helper."""
        found: dict[str, int] = self.status()["processes"]
        return found

    def succeeded(self, vrrp: int) -> bool:
        """Is there another vrrp process than this one, and does it answer?"""
        reply = self.ask("status")
        return bool(reply["ok"]) and reply["status"]["processes"]["vrrp"] != vrrp

    def status(self) -> dict[str, Any]:
        """What it says of itself; one that has just been started gets the time to listen."""
        end = now() + PATIENCE
        while not os.path.exists(self.socket_path) and self.running() and now() < end:
            time.sleep(0.02)
        reply = self.ask("status")
        assert reply["ok"], reply
        status: dict[str, Any] = reply["status"]
        return status

    def instance(self, name: str = "VI_1") -> dict[str, Any]:
        found: dict[str, Any] = next(i for i in self.status()["instances"] if i["name"] == name)
        return found

    def counters(self, name: str = "VI_1") -> dict[str, int]:
        counters: dict[str, int] = self.instance(name)["counters"]
        return counters

    def answers(self) -> bool:
        try:
            return bool(self.ask("status")["ok"])
        except (OSError, ValueError, KeyError):
            return False


# ---------------------------------------------------------------------------------------------- the laboratory
@dataclass
class Held:
    """Who has which address, and when it came."""

    by_host: dict[str, dict[str, float]] = field(default_factory=dict)

    def owners(self, address: str) -> set[str]:
        return {host for host, held in self.by_host.items() if address in held}


class Lab:
    """`with Lab("ab") as lab:` - hosts a and b, the client c, a switch between them, and a watcher."""

    def __init__(self, routers: str = "ab") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vrrpd-lab-"))
        self.changed = threading.Condition()
        self.frames: list[Frame] = []
        self.events: list[AddressEvent] = []
        self.held = Held()
        self.overruns = 0
        self.broken: BaseException | None = None
        self.hosts: dict[str, Host] = {}
        self.floods: list[subprocess.Popen[bytes]] = []
        self.switch = new_namespace()
        self._stop_r, self._stop_w = os.pipe()
        self._thread: threading.Thread | None = None
        try:
            self._build(routers)
        except BaseException:
            self.close()
            raise

    def _build(self, routers: str) -> None:
        names = [*routers, "c"]
        for name in names:
            self.hosts[name] = Host(self, name, 99 if name == "c" else routers.index(name) + 2)
        lines = ["link set lo up", "link add br0 type bridge mcast_snooping 0 stp_state 0", "link set br0 up"]
        with in_namespace(self.switch):
            for when in ("all", "default"):
                Path(f"/proc/sys/net/ipv6/conf/{when}/disable_ipv6").write_text("1")
        for name, host in self.hosts.items():
            # No duplicate address detection: an address counts at once. Tests of DAD switch it on.
            host.sysctl(net__ipv6__conf__all__accept_dad=0, net__ipv6__conf__default__accept_dad=0,
                        net__ipv4__conf__all__rp_filter=0, net__ipv6__conf__default__accept_ra=0,
                        net__ipv6__conf__default__addr_gen_mode=1)  # fmt: skip
            there = f"/proc/{os.getpid()}/fd/{host.namespace}"
            lines += [
                f"link add p{name} type veth peer name eth0 address {host.mac} netns {there}",
                f"link set p{name} master br0 up",
            ]
        self._in_switch(["ip", "-batch", "-"], "\n".join(lines) + "\n")
        for host in self.hosts.values():
            host.ip("link set lo up", "link set eth0 up", *host.own_addresses())
        self._watch()

    def _in_switch(self, argv: list[str], text: str = "") -> None:
        with in_namespace(self.switch):
            done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(argv)}: {done.stderr.strip()}")

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for flood in self.floods:
            flood.kill()
            flood.wait()
            if flood.stdout:
                flood.stdout.close()
        for host in self.hosts.values():
            host.close()
        self.hosts.clear()
        if self._thread:
            os.write(self._stop_w, b"x")
            self._thread.join()
        for fd in (self._stop_r, self._stop_w, self.switch):
            os.close(fd)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- faults of the network
    def cut(self, *names: str) -> None:
        """The switch silently drops everything of these ports; their carrier stays."""
        for name in names:
            self._in_switch(["bridge", "link", "set", "dev", f"p{name}", "state", "0"])

    def heal(self, *names: str) -> None:
        for name in names:
            self._in_switch(["bridge", "link", "set", "dev", f"p{name}", "state", "3"])

    def unplug(self, name: str) -> None:
        """Carrier loss at the host."""
        self._in_switch(["ip", "link", "set", f"p{name}", "down"])

    def plug(self, name: str) -> None:
        self._in_switch(["ip", "link", "set", f"p{name}", "up"])

    def deafen(self, name: str) -> None:
        """A one-way link: the host still sends, but VRRP no longer reaches it."""
        table = [
            f"table netdev deaf_{name} {{",
            "  chain out {",
            f'    type filter hook egress device "p{name}" priority 0; policy accept;',
            f"    ip protocol {VRRP} drop",
            f"    ip6 nexthdr {VRRP} drop",
            "  }",
            "}",
        ]
        self._in_switch(["nft", "-f", "-"], "\n".join(table) + "\n")

    def undeafen(self, name: str) -> None:
        self._in_switch(["nft", "delete", "table", "netdev", f"deaf_{name}"])

    def new_link(self, name: str) -> None:
        """Delete the host's eth0 and make another one with the same name and MAC."""
        host = self.hosts[name]
        there = f"/proc/{os.getpid()}/fd/{host.namespace}"
        lines = [f"link del p{name}", f"link add p{name} type veth peer name eth0 address {host.mac} netns {there}",
                 f"link set p{name} master br0 up"]  # fmt: skip
        self._in_switch(["ip", "-batch", "-"], "\n".join(lines) + "\n")

    def second_link(self, name: str, device: str, mac: str) -> None:
        """Another interface of the host on the same switch; its port is seen as the host's, too."""
        there = f"/proc/{os.getpid()}/fd/{self.hosts[name].namespace}"
        port = f"p{name}.{device}"
        lines = [f"link add {port} type veth peer name {device} address {mac} netns {there}",
                 f"link set {port} master br0 up"]  # fmt: skip
        self._in_switch(["ip", "-batch", "-"], "\n".join(lines) + "\n")
        self.hosts[name].ip(f"link set {device} up")

    # -- watching
    def _watch(self) -> None:
        self._epoll = select.epoll()
        self._epoll.register(self._stop_r, select.EPOLLIN)
        self._sockets: dict[int, tuple[socket.socket, str]] = {}
        with in_namespace(self.switch):
            sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            attach_filter(sniffer, watch_filter([socket.if_nametoindex("br0"), socket.if_nametoindex("pc")]))
            sniffer.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            sniffer.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._sniffer = sniffer
        self._watched(sniffer, "")
        for name, host in self.hosts.items():
            self.held.by_host[name] = {}
            with host.inside():
                monitor = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            monitor.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            monitor.bind((0, 0x10 | 0x100))  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
            self._watched(monitor, name)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _watched(self, sock: socket.socket, name: str) -> None:
        sock.setblocking(False)
        self._sockets[sock.fileno()] = (sock, name)
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self.broken = error
            raise

    def _read(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._stop_r:
                    for sock, _name in self._sockets.values():
                        sock.close()
                    self._epoll.close()
                    return
                sock, name = self._sockets[fd]
                with self.changed:
                    self._drain(sock, name)
                    if name:  # whoever sees an address has seen the adverts and announcements before it
                        self._drain(self._sniffer, "")
                    self.changed.notify_all()

    def _drain(self, sock: socket.socket, name: str) -> None:
        offset = 0.0 if name else clock_offset()
        while True:
            try:
                data, control, _, sender = sock.recvmsg(65536, 64)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS
                self.overruns += 1
                continue
            if name:
                at = now()
                for added, address, flags in address_events(data):
                    self.events.append(AddressEvent(at, name, added, address, flags))
                    if added:
                        self.held.by_host[name].setdefault(address, at)
                    else:
                        self.held.by_host[name].pop(address, None)
                continue
            if not control:  # came in before the socket was set up
                continue
            at = stamp(control[0][2]) - offset
            port = sender[0]
            with contextlib.suppress(IndexError):
                frame = read_frame(at, port[1:].partition(".")[0], data)
                if frame is not None:
                    self.frames.append(frame)

    def wait(self, condition: Callable[[], object], timeout: float, what: str, poll: float = 0.05) -> float:
        """Until the condition holds; returns the time. Fails with the daemons' logs after `timeout` seconds.

        The deadline is for what never comes: a busy machine gets PATIENCE at least. A test that cares how long
        something took compares times.
        """
        timeout = max(timeout, PATIENCE)
        end = now() + timeout
        with self.changed:
            while not condition():
                assert not self.broken, f"the watcher ended: {self.broken!r}"
                left = end - now()
                if left <= 0:
                    raise AssertionError(f"not within {timeout:g} s: {what}\n{self.report()}")
                self.changed.wait(min(left, poll))
        return now()

    def wait_owner(self, address: str, owner: str, timeout: float) -> float:
        """Until `owner` (a string of hosts: "", "a", "ab") and nobody else has the address."""
        return self.wait(
            lambda: self.held.owners(address) == set(owner), timeout, f"{address} at {owner or 'nobody'} alone"
        )

    def steady(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """The condition holds for the whole time (looked at on every event and every 50 ms)."""
        end = now() + seconds
        with self.changed:
            while (left := end - now()) > 0:
                assert not self.broken, f"the watcher ended: {self.broken!r}"
                if not condition():
                    raise AssertionError(f"it did not stay so for {seconds:g} s: {what}\n{self.report()}")
                self.changed.wait(min(left, 0.05))

    def adverts(self, host: str = "", vrid: int = 0, since: float = 0, family: int = 0) -> list[Advert]:
        with self.changed:
            return [
                f for f in self.frames
                if isinstance(f, Advert) and f.at >= since and host in ("", f.host) and vrid in (0, f.vrid)
                and (not family or (":" in f.source) == (family == 6))
            ]  # fmt: skip

    def announcements(self, address: str, host: str = "", since: float = 0) -> list[Garp | Na]:
        with self.changed:
            return [
                f for f in self.frames
                if isinstance(f, (Garp, Na)) and f.address == address and f.at >= since and host in ("", f.host)
            ]  # fmt: skip

    def changes(self, address: str, since: float = 0) -> list[AddressEvent]:
        with self.changed:
            return [e for e in self.events if e.address == address and e.at >= since]

    def report(self) -> str:
        """What a failed wait shows: owners, the last frames, the ends of the logs."""
        parts = [f"held: { {h: sorted(v) for h, v in self.held.by_host.items()} }"]
        end = now()
        parts += [
            f"  {frame.at - end:+.3f} " + " ".join(str(x) for x in frame[1:] if not isinstance(x, bytes))
            for frame in self.frames[-12:]
        ]
        for host in self.hosts.values():
            for daemon in host.daemons:
                status = "runs" if daemon.running() else f"ended {daemon.process.poll() if daemon.process else '?'}"
                parts.append(f"--- {host.name} {daemon.name} ({status})\n{daemon.log()[-2500:]}")
        return "\n".join(parts)

    # -- attacking and asking
    def inject(self, *frames: bytes, host: str = "c") -> None:
        """Put Ethernet frames on the wire from a host."""
        with self.hosts[host].inside():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with sock:
            sock.bind(("eth0", 0))
            for frame in frames:
                sock.send(frame)

    def flood(self, frames: list[bytes], rate: int, seconds: float) -> subprocess.Popen[bytes]:
        """Send the frames round robin at `rate` per second from the client, by a process of its own."""
        path = self.folder / f"flood{len(os.listdir(self.folder))}"
        path.write_bytes(b"".join(struct.pack("!H", len(f)) + f for f in frames))
        program = str(Path(__file__).with_name("flood.py"))
        argv = [sys.executable, "-I", "-S", program, str(path), str(rate), str(seconds)]
        with self.hosts["c"].inside():
            flood = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], stdout=subprocess.PIPE)
        self.floods.append(flood)
        return flood

    def neighbour(self, address: str, host: str = "c") -> str:
        """The MAC address that a host has learnt for an address, or ""."""
        for entry in json.loads(self.hosts[host].command("ip", "-j", "neigh", "show", address) or "[]"):
            if "lladdr" in entry:
                mac: str = entry["lladdr"]
                return mac
        return ""

    def ping(self, address: str, timeout: float = 0.5) -> bool:
        """Does the address answer the client? One echo request."""
        six = ":" in address
        kind, protocol = (128, socket.IPPROTO_ICMPV6) if six else (8, socket.IPPROTO_ICMP)
        with self.hosts["c"].inside():
            sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, protocol)
        with sock:
            sock.settimeout(timeout)
            body = struct.pack("!BBHHH", kind, 0, 0, os.getpid() & 0xFFFF, threading.get_ident() & 0xFFFF)
            body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
            end = now() + timeout
            try:
                sock.sendto(body, (address, 0))
                while now() < end:
                    reply = sock.recv(2048)
                    offset = 0 if six else (reply[0] & 15) * 4
                    if reply[offset] == (129 if six else 0) and reply[offset + 4 : offset + 8] == body[4:8]:
                        return True
            except OSError:
                pass
        return False


class Order:
    """In which order a host's first advert, first address and first announcement of `address` left its kernel.

    Times cannot tell: the three are microseconds apart. But an epoll instance lists descriptors in the order in which
    they became ready, however late its reader comes.
    """

    def __init__(self, host: Host, address: str) -> None:
        self.epoll = select.epoll()
        self.sockets: dict[int, tuple[str, socket.socket]] = {}
        six = ":" in address
        # Only what we send: our own adverts, and ARP frames or neighbour advertisements that speak for the address.
        outgoing = [(LD_TYPE, 0, 0, SKF_PKTTYPE), (JEQ, 1, 0, PACKET_OUTGOING), (RET, 0, 0, 0)]
        tail = [(RET, 0, 0, 0xFFFF), (RET, 0, 0, 0)]
        advert = [(LD_BYTE, 0, 0, 20 if six else 23), (JEQ, 0, 1, VRRP)]
        if six:
            announcement = [(LD_BYTE, 0, 0, 20), (JEQ, 0, 3, 58), (LD_BYTE, 0, 0, 54), (JEQ, 0, 1, 136)]
        else:
            sender = int.from_bytes(packed(address), "big")
            announcement = [(LD_ETHER, 0, 0, 12), (JEQ, 0, 3, 0x0806), (LD_TYPE, 0, 0, 28), (JEQ, 0, 1, sender)]
        with host.inside():
            for what, test in (("advert", advert), ("announcement", announcement)):
                tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                attach_filter(tap, [*outgoing, *test, *tail])
                tap.bind(("eth0", ETH_P_ALL))
                self._add(what, tap)
            monitor = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            monitor.bind((0, 0x100 if six else 0x10))
            self._add("address", monitor)

    def _add(self, what: str, sock: socket.socket) -> None:
        self.sockets[sock.fileno()] = what, sock
        self.epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLONESHOT)

    def seen(self, timeout: float = 5) -> list[str]:
        """The three in their order, or those that came in time."""
        order: list[str] = []
        end = now() + timeout
        while len(order) < len(self.sockets) and (left := end - now()) > 0:
            order += [self.sockets[fd][0] for fd, _ in self.epoll.poll(left)]
        for _, sock in self.sockets.values():
            sock.close()
        self.epoll.close()
        return order


class Prober:
    """The client asks an address every `period` seconds."""

    def __init__(self, lab: Lab, address: str, period: float = 0.01) -> None:
        self.address, self.period = address, period
        with lab["c"].inside():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.sock.setblocking(False)
        self.sent: list[float] = []
        self.answered: set[int] = set()
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._ask()
        except BaseException as error:
            self.error = error
            raise

    def _ask(self) -> None:
        ident = struct.pack("!H", id(self) & 0xFFFF)
        due = now()
        while not self._stop.is_set():
            body = ident + struct.pack("!HI", len(self.sent) & 0xFFFF, len(self.sent))
            with contextlib.suppress(OSError):
                self.sock.sendto(struct.pack("!BBH", 8, 0, checksum(b"\x08\x00" + body)) + body, (self.address, 0))
            self.sent.append(now())
            due = max(due + self.period, now())
            while (left := due - now()) > 0:
                if select.select([self.sock], [], [], left)[0]:
                    with contextlib.suppress(OSError):
                        reply = self.sock.recv(2048)
                        at = (reply[0] & 15) * 4
                        if reply[at] == 0 and reply[at + 4 : at + 6] == ident:
                            self.answered.add(struct.unpack_from("!I", reply, at + 8)[0])

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.sock.close()

    def longest_gap(self, since: float = 0) -> float:
        """Seconds in which probes were sent and none was answered, the longest; call after stop().

        When the machine does not let us send any, nobody was there who could have missed an answer.
        """
        assert self.error is None, f"the prober died of {self.error!r}"
        sent = {number for number, at in enumerate(self.sent) if at >= since}
        assert sent & self.answered, f"of {len(sent)} probes not one was answered"
        longest, first = 0.0, None
        for number, at in enumerate(self.sent):
            if number in self.answered or at < since:
                first = None
            else:
                first = at if first is None else first
                longest = max(longest, at + self.period - first)
        return longest


# ---------------------------------------------------------------------------------------------- configurations
def instance(
    vips: tuple[str, ...] = ("10.0.0.100/24",), *lines: str,
    name: str = "VI_1", vrid: int = 51, priority: int = 100, interval: float = 0.1, version: int = 3,
    state: str = "BACKUP", interface: str = "eth0",
) -> str:  # fmt: skip
    """A vrrp_instance; `lines` go into it as they are."""
    return "\n".join([
        f"vrrp_instance {name} {{",
        f"    interface {interface}", f"    state {state}", f"    version {version}",
        f"    virtual_router_id {vrid}", f"    priority {priority}", f"    advert_int {interval:g}",
        *(f"    {line}" for line in lines),
        "    virtual_ipaddress {", *(f"        {vip}" for vip in vips), "    }",
        "}", "",
    ])  # fmt: skip


def config(*instances: str, globals: tuple[str, ...] = ()) -> str:
    return "\n".join(["global_defs {", "    router_id lab", *(f"    {g}" for g in globals), "}", *instances])


def receive_buffers(pid: int) -> list[tuple[int, int, int]]:
    """Family, type and buffer of each socket of a process; the kernel counts twice what was asked for."""
    found: list[tuple[int, int, int]] = []
    pidfd = os.pidfd_open(pid)
    for fd in os.listdir(f"/proc/{pid}/fd"):
        copy = _libc.syscall(PIDFD_GETFD, pidfd, int(fd), 0)
        if copy >= 0 and os.readlink(f"/proc/self/fd/{copy}").startswith("socket:"):
            with socket.socket(fileno=copy) as sock:
                found.append((sock.family, sock.type, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)))
        elif copy >= 0:
            os.close(copy)
    os.close(pidfd)
    return found


def refused(counters: Mapping[str, int]) -> dict[str, int]:
    """Counters of what was not believed, that are not 0."""
    return {name: count for name, count in counters.items() if count and name not in BELIEVED}


def skew(priority: int, interval: float, version: int = 3) -> float:
    """RFC 9568 6.1; in version 2 it does not depend on the interval (RFC 3768 6.1)."""
    return (256 - priority) / 256 * (interval if version == 3 else 1.0)


def master_down(priority: int, interval: float, version: int = 3) -> float:
    return 3 * interval + skew(priority, interval, version)
