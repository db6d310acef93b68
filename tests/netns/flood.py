"""Send the frames of a file round robin at a given rate: flood.py FILE RATE SECONDS (tests/netns/lab.py starts it).

The file holds length-prefixed Ethernet frames; prints how many were sent. In bursts of five milliseconds: the pace
of a flood does not matter, its number does, and a wake-up for each packet would load the machine more than the
packets do.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time
from pathlib import Path

BURST = 0.005


def main() -> None:
    data, rate, seconds = Path(sys.argv[1]).read_bytes(), float(sys.argv[2]), float(sys.argv[3])
    frames, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("!H", data, at)
        frames.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind(("eth0", 0))
    with contextlib.suppress(OSError):  # the rate is a promise, and a burst is short
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    start, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - start) < seconds:
        for _ in range(int(elapsed * rate) - sent):
            sock.send(frames[sent % len(frames)])
            sent += 1
        time.sleep(BURST)
    print(sent)


if __name__ == "__main__":
    main()
