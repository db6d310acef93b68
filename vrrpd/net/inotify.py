"""inotify(7): which names in some folders have changed. By ctypes: Python has no call for it."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _IGNORED, _OVERFLOW, _ONLYDIR = 0x400, 0x800, 0x8000, 0x4000, 0x01000000
_WATCHED = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name


class Inotify:
    """Raises OSError where the kernel has no more watches to give."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._folders: dict[int, str] = {}

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    @property
    def folders(self) -> set[str]:
        """Those that are watched: one that is removed or moved away is not, any more."""
        return set(self._folders.values())

    def watch(self, folder: str) -> None:
        number = self._checked(self._libc.inotify_add_watch(self.fd, os.fsencode(folder), _WATCHED))
        self._folders[number] = folder

    def forget(self, folder: str) -> None:
        for number in [number for number, watched in self._folders.items() if watched == folder]:
            self._libc.inotify_rm_watch(self.fd, number)
            del self._folders[number]

    def read(self) -> Iterator[str]:
        """The paths that have changed; a folder itself, when nothing more precise is known. Does not block."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, at)
            name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            if mask & _OVERFLOW:
                yield from self.folders
                continue
            folder = self._folders.get(number)
            if folder is None:
                continue
            if mask & _MOVE_SELF:
                self.forget(folder)
            elif mask & _IGNORED:
                self._folders.pop(number, None)
            yield os.path.join(folder, os.fsdecode(name)) if name else folder

    def close(self) -> None:
        os.close(self.fd)
