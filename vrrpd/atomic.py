"""A file that is there as a whole or not at all, also in a folder that others may write to."""

from __future__ import annotations

import contextlib
import os


def write(path: str, content: str, mode: int = 0o600) -> None:
    """Atomically, and without following what somebody may have put there: the folder may be /tmp."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
