"""Sends adverts that no router of the lab believes: in a peer's name, sealed with a key that nobody has.

stranger.py VRID SOURCE DESTINATION: five a second, VRRPv3 over IPv4 with the trailer of auth_hmac (vrrpd/vrrp/auth.py
draws it), until it is stopped. Standard library only: it runs inside the lab's client, whatever Python that has.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

KEY_ID = 99


def main() -> None:
    vrid, (source, destination) = int(sys.argv[1]), map(socket.inet_aton, sys.argv[2:4])
    body = struct.pack("!BBBBHH", 0x31, vrid, 50, 1, 30, 0) + socket.inet_aton("192.0.2.1")
    total = sum(struct.unpack("!6H", body))
    body = body[:6] + struct.pack("!H", -total % 0xFFFF) + body[8:]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        while True:
            trailer = struct.pack("!BBHQ16s", 1, KEY_ID, 0, int(time.time() * 65536) << 16, bytes(16))
            length = 20 + len(body) + len(trailer)
            header = struct.pack("!BBHHHBBH4s4s", 0x45, 0xC0, length, 0, 0, 255, 112, 0, source, destination)
            sock.sendto(header + body + trailer, (socket.inet_ntoa(destination), 0))
            time.sleep(0.2)


if __name__ == "__main__":
    main()
