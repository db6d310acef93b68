"""SHA-256, MD5, HMAC and the comparison in constant time, without loading OpenSSL into a process for them (3-4 MB).

hashlib and hmac would; the interpreter's own code is enough for messages of this size. A distribution that builds
Python without it gets hashlib's.
"""

from __future__ import annotations

from typing import Any, Callable

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

__all__ = ["compare_digest", "hmac_md5", "hmac_sha256", "sha256"]

_INNER, _OUTER = bytes(n ^ 0x36 for n in range(256)), bytes(n ^ 0x5C for n in range(256))
BLOCK = 64  # of both hashes


def sha256(data: bytes) -> bytes:
    digest: bytes = _sha256(data).digest()
    return digest


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """RFC 2104."""
    block = (key if len(key) <= BLOCK else sha256(key)).ljust(BLOCK, b"\0")
    return sha256(block.translate(_OUTER) + sha256(block.translate(_INNER) + data))


def hmac_md5(key: bytes, data: bytes) -> bytes:
    """RFC 2104, with a key of at most 64 bytes."""
    md5, block = _md5(), key.ljust(BLOCK, b"\0")
    digest: bytes = md5(block.translate(_OUTER) + md5(block.translate(_INNER) + data).digest()).digest()
    return digest


def _md5() -> Callable[[bytes], Any]:
    """Looked for when it is needed: nobody without AH pays for it, and not every Python has its own."""
    try:
        from _md5 import md5  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # pragma: no cover
        from hashlib import md5  # type: ignore[assignment,unused-ignore]

        return lambda data: md5(data, usedforsecurity=False)  # type: ignore[call-arg,unused-ignore]
    found: Callable[[bytes], Any] = md5
    return found
