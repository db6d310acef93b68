"""Pings an address a hundred times a second and measures how long it did not answer.

probe.py ADDRESS [FILE]: each gap that ended is one JSON line on standard output: {"gap": seconds, "at": epoch}; on
SIGTERM, or when standard input ends, a last line sums up, and goes to FILE too. Standard library only: it runs inside
the lab's client, whatever Python that has. The gap runs from the last request that was answered to the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time

INTERVAL = 0.01
# Shorter is scheduling on a busy machine, not an outage.
SHOWN = 0.05


def checksum(data: bytes) -> int:
    """RFC 1071, for an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def main() -> None:
    address, file = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    six = ":" in address
    request, reply = (128, 129) if six else (8, 0)
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    ident = os.getpid() & 0xFFFF
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))

    sent_at: dict[int, float] = {}
    sent = answered = 0
    last_ok: float | None = None
    gaps: list[float] = []
    poll = select.poll()
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        sock.setblocking(False)
        poll.register(sock, select.POLLIN)
        if file is None:
            poll.register(0, select.POLLIN | select.POLLHUP)
        due = time.monotonic()
        while not stopped:
            now = time.monotonic()
            if now >= due:
                sequence = sent & 0xFFFF
                body = struct.pack("!HH", ident, sequence)
                # The kernel fills in ICMPv6's checksum, never ICMP's.
                packet = struct.pack("!BBH", request, 0, 0 if six else checksum(bytes([request, 0]) + body)) + body
                sent_at[sequence] = now
                sent += 1
                due = max(due + INTERVAL, now)
                with contextlib.suppress(OSError):  # no neighbour yet: as good as no answer
                    sock.sendto(packet, (address, 0))
            for fd, _event in poll.poll(max(0.0, (due - time.monotonic()) * 1000)):
                if fd == 0:
                    if not os.read(0, 4096):
                        stopped.append(0)
                    continue
                data = sock.recv(2048)
                message = data if six else data[(data[0] & 15) * 4 :]
                kind, _code, _sum, who, sequence = struct.unpack_from("!BBHHH", message)
                if kind != reply or who != ident or sequence not in sent_at:
                    continue
                answered += 1
                at = sent_at.pop(sequence)
                if last_ok is not None and at - last_ok > SHOWN:
                    gaps.append(at - last_ok)
                    print(json.dumps({"gap": round(gaps[-1], 3), "at": time.time()}), flush=True)
                last_ok = max(at, last_ok or at)
    ended = time.monotonic()
    # Still silent at the end: the outage so far is the least it can be.
    open_gap = ended - last_ok if last_ok is not None and ended - last_ok > SHOWN else 0.0
    summary = {
        "sent": sent,
        "answered": answered,
        "gaps": [round(gap, 3) for gap in gaps],
        "longest": round(max([*gaps, open_gap]), 3),
        "answering": last_ok is not None and not open_gap,
    }
    if file is not None:
        with open(file, "w", encoding="ascii") as out:
            json.dump(summary, out)
    print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    main()
