"""SHA-256, HMAC and the comparison in constant time, without loading OpenSSL into a process for them (3-4 MB).

hashlib and hmac would; the interpreter's own code is enough for messages of this size. A distribution that builds
Python without it gets hashlib's.
"""

from __future__ import annotations

try:
    from _operator import _compare_digest as compare_digest
except ImportError:  # pragma: no cover
    from hmac import compare_digest

try:
    from _sha2 import sha256 as _sha256  # type: ignore[import-not-found,unused-ignore]  # since 3.12
except ImportError:
    try:
        from _sha256 import sha256 as _sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # pragma: no cover
        from hashlib import sha256 as _sha256  # type: ignore[assignment,unused-ignore]

__all__ = ["compare_digest", "hmac_sha256", "sha256"]

_INNER, _OUTER = bytes(n ^ 0x36 for n in range(256)), bytes(n ^ 0x5C for n in range(256))


def sha256(data: bytes) -> bytes:
    digest: bytes = _sha256(data).digest()
    return digest


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """RFC 2104."""
    block = (key if len(key) <= 64 else sha256(key)).ljust(64, b"\0")
    return sha256(block.translate(_OUTER) + sha256(block.translate(_INNER) + data))
