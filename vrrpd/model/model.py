"""The whole of a configuration, resolved: what crosses from the loader to the guard, the vrrp process and the helper.

Apart from load.py, so that a Model can be named without loading the reader.
"""

from __future__ import annotations

from dataclasses import dataclass

from .globals import GlobalDefs
from .groups import VrrpSyncGroup
from .trackers import TrackFile, TrackProcess, VrrpScript
from .values import GarpGroup, InterfaceDelay, Static
from .vrrp import VrrpInstance


@dataclass(frozen=True)
class Model:
    """`sha256` is of the main file's bytes."""

    global_defs: GlobalDefs
    vrrp_instances: tuple[VrrpInstance, ...]
    path: str
    sha256: str
    vrrp_sync_groups: tuple[VrrpSyncGroup, ...] = ()
    vrrp_scripts: tuple[VrrpScript, ...] = ()  # those that somebody tracks
    track_files: tuple[TrackFile, ...] = ()
    track_processes: tuple[TrackProcess, ...] = ()
    interface_delays: tuple[InterfaceDelay, ...] = ()
    garp_groups: tuple[GarpGroup, ...] = ()
    statics: tuple[Static, ...] = ()
