"""A Model as bytes and back, for the processes that run it.

What comes back has the fields of the dataclasses, and nothing of what those carry for the reader: the processes
that run a model need neither keyword table nor parser, regular expressions nor inspect: 4 MB in each.
An instance is a named tuple, 0.7 kB with its address; equal values are one object. The bytes say what the fields are
called, but are of this Python alone (marshal), and trusted as code is: only our own loader child writes them.
"""

from __future__ import annotations

import marshal
import struct
from collections import namedtuple
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from vrrpd.model import values

if TYPE_CHECKING:
    from vrrpd.model.globals import GlobalDefs
    from vrrpd.model.groups import VrrpSyncGroup
    from vrrpd.model.model import Model
    from vrrpd.model.trackers import TrackFile, TrackProcess, VrrpScript
    from vrrpd.model.vrrp import VrrpInstance


class Extract(NamedTuple):
    """What the helper needs of a Model: in it 4000 instances that nobody is to be told of would be 9 MB."""

    names: tuple[str, ...]  # of all instances
    vrrp_instances: tuple[VrrpInstance, ...]  # those alone that somebody wants to be told of
    global_defs: GlobalDefs
    path: str
    sha256: str
    vrrp_sync_groups: tuple[VrrpSyncGroup, ...]  # likewise
    vrrp_scripts: tuple[VrrpScript, ...]
    track_files: tuple[TrackFile, ...]
    track_processes: tuple[TrackProcess, ...]


_LENGTH = struct.Struct("=Q")


def encode(model: Model) -> bytes:
    """The extract and the whole in one piece, for `extracted` and `decode`."""
    names = tuple(instance.name for instance in model.vrrp_instances)
    told = tuple(filter(_is_told, model.vrrp_instances))
    groups = tuple(filter(_is_told, model.vrrp_sync_groups))
    trackers = model.vrrp_scripts, model.track_files, model.track_processes
    extract = _encode(Extract(names, told, model.global_defs, model.path, model.sha256, groups, *trackers))
    return b"".join((_LENGTH.pack(len(extract)), extract, _encode(model)))


def decode(data: bytes) -> Model:
    """The whole. Typed as the dataclasses are; equality is by value here too."""
    (length,) = _LENGTH.unpack_from(data)
    return cast("Model", _decode(memoryview(data)[_LENGTH.size + length :]))


def extracted(data: bytes) -> Extract:
    (length,) = _LENGTH.unpack_from(data)
    return Extract(*_decode(memoryview(data)[_LENGTH.size : _LENGTH.size + length]))


_NOTIFIES = (
    "notify", "notify_master", "notify_backup", "notify_fault", "notify_stop", "notify_deleted",
    "notify_master_rx_lower_pri",
)  # fmt: skip


def _is_told(instance: VrrpInstance | VrrpSyncGroup) -> bool:
    """Does anybody want to be told of its transitions, by script or mail?"""
    return instance.smtp_alert or any(getattr(instance, name, None) is not None for name in _NOTIFIES)


def _encode(value: object) -> bytes:
    encoder = _Encoder()
    root = encoder.value(value)
    return marshal.dumps((encoder.kinds(), root))


def _decode(data: memoryview) -> Any:
    kinds, root = marshal.loads(data)
    classes = [getattr(values, name, None) or _class(name, fields) for name, fields, _ in kinds]
    nested = [positions for *_, positions in kinds]

    def made(value: Any) -> Any:
        if type(value) is tuple:
            return tuple(map(made, value))
        if type(value) is not list:
            return value
        kind = value.pop()
        for position in nested[kind]:
            if value[position]:
                value[position] = made(value[position])
        return tuple.__new__(classes[kind], value)

    return made(root)


def _class(name: str, fields: tuple[str, ...]) -> type[Any]:
    shape = namedtuple(name, fields)  # type: ignore[misc]
    # Not its values: there are passwords among them.
    return type(name, (shape,), {"__slots__": (), "__repr__": lambda self: f"<{name} {self[0]}>"})


class _Encoder:
    """A dataclass or named tuple becomes a list: its values, then the number of its kind. All else stays as it is."""

    def __init__(self) -> None:
        self._kinds: dict[type, _Kind] = {}
        self._same: dict[object, object] = {}

    def kinds(self) -> tuple[tuple[str, tuple[str, ...], tuple[int, ...]], ...]:
        """Of each kind the name, the names of its fields, and which of them hold other kinds somewhere."""
        return tuple((kind.name, kind.fields, tuple(sorted(kind.nested))) for kind in self._kinds.values())

    def value(self, value: Any) -> Any:
        """A list where there is a kind in it; equal values become one object."""
        if type(value) in (str, bytes, float):  # not numbers in general: 1 and True are equal
            return self._same.setdefault(value, value)
        if type(value) is tuple:
            items = tuple(map(self.value, value))
            return items if any(map(_is_made, items)) else value
        if not (hasattr(value, "__dataclass_fields__") or hasattr(value, "_fields")):
            return value
        kind = self._kinds.get(type(value))
        if kind is None:
            kind = self._kinds[type(value)] = _Kind(len(self._kinds), type(value))
        made = [getattr(value, name) for name in kind.fields]
        for index, each in enumerate(made):
            if each.__class__ in _PLAIN:
                continue
            made[index] = self.value(each)
            if _is_made(made[index]):
                kind.nested.add(index)
        made.append(kind.number)
        return made


_PLAIN = frozenset({int, bool, type(None)})


class _Kind:
    def __init__(self, number: int, kind: type[Any]) -> None:
        self.number = number
        self.name = kind.__name__
        self.fields = tuple(getattr(kind, "_fields", None) or kind.__dataclass_fields__)
        self.nested: set[int] = set()


def _is_made(value: object) -> bool:
    return type(value) is list or (type(value) is tuple and any(map(_is_made, value)))
