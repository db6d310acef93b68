"""Ping an address a thousand times a second until standard input closes: probe.py ADDRESS (for bench/failover.py).

Says "probing" when it begins; at the end prints one JSON line of [sent, answered] times (monotonic seconds; answered
0: never, or later than LATE). The kernel of whoever holds the address answers, so that no server adds its own noise;
real-time priority, where it is permitted, keeps our own out.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time

PERIOD, LATE = 0.001, 0.02


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def main() -> None:
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
    ident = struct.pack("!H", os.getpid() & 0xFFFF)
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.setblocking(False)
    sent: list[float] = []
    answered: dict[int, float] = {}
    print("probing", flush=True)
    due = time.monotonic()
    ended = False
    while not ended:
        body = ident + struct.pack("!HI", len(sent) & 0xFFFF, len(sent))
        sent.append(time.monotonic())
        with contextlib.suppress(OSError):  # no neighbour entry yet is as good as no answer
            sock.sendto(struct.pack("!BBH", 8, 0, checksum(b"\x08\x00" + body)) + body, (sys.argv[1], 0))
        due = max(due + PERIOD, time.monotonic() - 0.05)  # after a stall of our own no burst follows
        while (left := due - time.monotonic()) > 0:
            ready = select.select([sock, 0], [], [], left)[0]
            if sock in ready:
                at = time.monotonic()
                with contextlib.suppress(BlockingIOError):
                    while True:
                        reply = sock.recv(2048)
                        head = (reply[0] & 15) * 4
                        if reply[head] == 0 and reply[head + 4 : head + 6] == ident:
                            answered.setdefault(struct.unpack_from("!I", reply, head + 8)[0], at)
            if 0 in ready:
                ended = True
                break
    got = ((number, answered.get(number, 0.0)) for number in range(len(sent)))
    print(json.dumps([[sent[n], at if at - sent[n] <= LATE else 0] for n, at in got]))


if __name__ == "__main__":
    main()
