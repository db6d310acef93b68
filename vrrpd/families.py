"""The two address families by their Linux numbers, and what is link-local: a leaf, nobody imports the model for it."""

from __future__ import annotations

AF_INET, AF_INET6 = 2, 10


def link_local(address: bytes | None) -> bool:
    """fe80::/10 (RFC 4291 2.4)."""
    return address is not None and len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80
