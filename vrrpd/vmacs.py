"""The virtual interfaces of use_vmac and use_ipvlan: made before they are needed, kept, and undone at the end.

The guard owns them, because they outlive every other process: a failover, a reload, a crash of the vrrp process and
an upgrade find them as they are. In: the devices that a configuration wants. What was made, and the former values of
the sysctls that had to change on the interfaces below, are written to a file before it is done; whoever comes after a
SIGKILL of everything (the next start, ExecStopPost) undoes it or goes on with it. No VRRP here, and no address of a
virtual router; the vrrp process follows the devices as it follows every link.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from vrrpd import will
from vrrpd.model.values import MACVLAN, Device
from vrrpd.net import addresses, netlink, vmac

FILE = "devices.json"  # beside the will

Log = Callable[[str, str], object]

# Of the interface below, where IPv4 addresses lie on a macvlan: without arp_ignore it answers for them with its own
# MAC address, without arp_announce its requests tell them with its own, and a neighbour learns the wrong one.
BELOW = {"arp_ignore": 1, "arp_announce": 2}

PROMOTE = "promote_secondaries"
LOCAL_IGMP = "ipv4/igmp_link_local_mcast_reports"  # of the whole network namespace: disable_local_igmp

# Of the macvlan. It bears virtual addresses and nothing else: no address of its own making (RFC 9568 7.4: the virtual
# MAC must not seed one), no duplicate detection, no router's word; IPv6 only while it has an address (executor.py).
# What comes in there is answered by way of the interface below: a loose rp_filter, which counts even where the
# machine's is strict (the greater of "all" and the interface's own does), so that nothing of the machine is changed.
OWN4 = {"arp_ignore": "1", "arp_announce": "2", "rp_filter": "2", "promote_secondaries": "1"}
OWN6 = {
    "disable_ipv6": "1",
    "addr_gen_mode": "1",
    "accept_ra": "0",
    "autoconf": "0",
    "accept_dad": "0",
    "router_solicitations": "0",
}


class Devices:
    """What we made and changed in this network namespace, and what to put back."""

    def __init__(self, folder: str, log: Log) -> None:
        self._path = os.path.join(folder, FILE)
        self._log = log
        self._made: dict[str, Device] = {}
        self._before: dict[str, list[str]] = {}  # sysctl -> [former value, ours]
        self._saved: object = None
        self._told: dict[str, str] = {}
        self._held_up: set[str] = set()  # made, and not up yet: another one of ours still has the MAC address

    @property
    def names(self) -> Collection[str]:
        return self._made

    # ---- making ----------------------------------------------------------------------------------------------

    def fit(self, wanted: Sequence[Device], replace: bool = False) -> dict[str, str]:
        """Make what is missing; what cannot be made, by name, and why. What does not fit is left, or replaced.

        Never replaced before a new configuration runs: the old one may still live on it.
        """
        if not wanted:
            return {}
        here = vmac.found()
        refused: dict[str, str] = {}
        todo: list[tuple[Device, int]] = []
        adopted: list[tuple[Device, int]] = []
        for device in wanted:
            base = here.get(device.base)
            if base is None:
                continue  # its absence is a fault of its own
            there = here.get(device.name)
            if there is not None and self._fits(device, there, base):
                if device.name not in self._made:
                    adopted.append((device, there.ifindex))
            elif there is None or (replace and self._ours(device.name, there)):
                todo.append((device, base.ifindex))
            elif replace or device.name not in self._made:
                what = there.kind or "no virtual interface"
                refused[device.name] = f"there is another interface {device.name} ({what}), use_vmac needs another name"
        if replace:
            stale = [here[device.name].ifindex for device, _ in todo if device.name in here]
            self._remove(stale)
        self._below(wanted)
        self._made.update({device.name: device for device, _ in (*todo, *adopted)})
        self._save()
        self._adopt(adopted)
        self._enslave(here, wanted)
        refused.update(self._make(todo))
        if replace:
            self._raise_held_up(here)
        for name in refused:
            self._made.pop(name, None)
        self._save()
        self._tell(refused)
        return refused

    def _adopt(self, adopted: Sequence[tuple[Device, int]]) -> None:
        """What keepalived, or a predecessor whose file is lost, left behind is as good as made by us."""
        if not adopted:
            return
        requests = netlink.Requests()
        requests.run([vmac.adjust(ifindex) for device, ifindex in adopted if device.kind == MACVLAN])
        requests.run([vmac.set_up(ifindex) for _, ifindex in adopted])
        requests.close()
        for device, _ in adopted:
            self._log("info", f"found {device.kind} {device.name} on {device.base}{_with(device)}, using it")
            self._furnish(device)

    def _enslave(self, here: Mapping[str, vmac.Found], wanted: Iterable[Device]) -> None:
        """Those that are there, by a reload, when the interface below has gone into a VRF or out of one."""
        todo = _enslaved(here, [device for device in wanted if device.name in self._made])
        if todo:
            requests = netlink.Requests()
            try:
                self._carry_out(requests, todo, "put it into the VRF of the interface below")
            finally:
                requests.close()

    def _carry_out(self, requests: netlink.Requests, todo: Sequence[vmac.Request], what: str) -> None:
        for code in requests.run(todo):
            if code:
                self._log("error", f"virtual interfaces: cannot {what}: {os.strerror(code)}")

    def _make(self, todo: Sequence[tuple[Device, int]]) -> dict[str, str]:
        refused = {}
        requests = netlink.Requests()
        try:
            for (device, _), code in zip(todo, requests.run([_create(device, base) for device, base in todo])):
                if code:
                    refused[device.name] = _reason(device, code)
                    continue
                self._log("info", f"made {device.kind} {device.name} on {device.base}{_with(device)}")
                self._furnish(device)
            here = vmac.found() if todo else {}
            into = _enslaved(here, [device for device, _ in todo])
            self._carry_out(requests, into, "put it into the VRF of the interface below")
            made = [here[device.name].ifindex for device, _ in todo if device.name in here]
            own = [
                addresses.add(here[device.name].ifindex, device.address, 32 if len(device.address) == 4 else 128)
                for device, _ in todo
                if device.address and device.name in here
            ]
            codes = requests.run([*map(vmac.set_up, made), *own])
            up = dict(zip(made, codes))
            self._held_up |= {
                device.name
                for device, _ in todo
                if device.name in here and up[here[device.name].ifindex] in (errno.EBUSY, errno.EADDRINUSE)
            }
        finally:
            requests.close()
        return refused

    def _raise_held_up(self, here: Mapping[str, vmac.Found]) -> None:
        """A reload gave the interface another name: the former one has gone by now, and its MAC address is free."""
        waiting, self._held_up = self._held_up, set()
        indexes = [here[name].ifindex for name in waiting if name in here and name in self._made]
        if indexes:
            requests = netlink.Requests()
            try:
                self._carry_out(requests, [vmac.set_up(ifindex) for ifindex in indexes], "set it up")
            finally:
                requests.close()

    def _furnish(self, device: Device) -> None:
        denied: list[str] = []
        for family, values in (("ipv4", OWN4), ("ipv6", OWN6)):
            for name, value in values.items():
                if name == "disable_ipv6" and device.kind != MACVLAN:
                    continue  # its frames turn no switch
                self._set(f"{family}/conf/{device.name}/{name}", value, denied)
            with contextlib.suppress(OSError):
                forwarding = vmac.sysctl(f"{family}/conf/{device.base}/forwarding")
                self._set(f"{family}/conf/{device.name}/forwarding", forwarding, denied)
        if denied:
            self._log("warning", f"{device.name}: cannot set {', '.join(denied)}: /proc/sys is not to be written here")

    def _set(self, path: str, value: str, denied: list[str]) -> None:
        try:
            vmac.set_sysctl(path, value)
        except FileNotFoundError:
            pass  # a kernel without IPv6, or an older one
        except OSError:
            denied.append(path.replace("/", "."))

    def _below(self, wanted: Iterable[Device]) -> None:
        for base in dict.fromkeys(device.base for device in wanted if device.kind == MACVLAN):
            for name, least in BELOW.items():
                self._raise(f"ipv4/conf/{base}/{name}", least, f"neighbours may learn the MAC of {base}")

    def _raise(self, path: str, least: int, otherwise: str) -> None:
        """A sysctl to this value at least; what it was is in the file before."""
        with contextlib.suppress(OSError, ValueError):
            before = vmac.sysctl(path)
            if int(before) >= least:
                return
            self._before.setdefault(path, [before, str(least)])
            self._save()
            try:
                vmac.set_sysctl(path, str(least))
            except OSError:
                self._log("warning", f"cannot set {path.replace('/', '.')} = {least}: {otherwise}")

    def promote(self, interfaces: Collection[str], alone: bool = False) -> None:
        """promote_secondaries: the other addresses of a subnet stay when the first is removed. `alone`: only there."""
        for name in interfaces:
            otherwise = "addresses of a subnet may go with the first of it"
            self._raise(f"ipv4/conf/{name}/{PROMOTE}", 1, otherwise)
        if alone:
            promoted = [path for path in self._before if path.endswith(PROMOTE)]
            self._restore([path for path in promoted if path.split("/")[2] not in interfaces])
            self._save()

    def silence(self, on: bool) -> None:
        """Keep IGMP reports of the groups 224.0.0.0/24, which no switch needs, or let them go as before."""
        if on == (LOCAL_IGMP in self._before):
            return
        if not on:
            self._restore([LOCAL_IGMP])
            self._save()
            return
        with contextlib.suppress(OSError):
            self._before[LOCAL_IGMP] = [vmac.sysctl(LOCAL_IGMP), "0"]
            self._save()
            try:
                vmac.set_sysctl(LOCAL_IGMP, "0")
            except OSError as error:
                self._log("warning", f"disable_local_igmp: cannot write /proc/sys/net/{LOCAL_IGMP}: {error.strerror}")

    # ---- removing --------------------------------------------------------------------------------------------

    def keep(self, wanted: Collection[Device]) -> None:
        """Remove what we made and nobody wants any more."""
        names = {device.name for device in wanted}
        self._drop([name for name in self._made if name not in names])
        bases = {device.base for device in wanted if device.kind == MACVLAN}
        below = [path for path in self._before if path != LOCAL_IGMP and not path.endswith(PROMOTE)]
        self._restore([path for path in below if path.split("/")[2] not in bases])
        self._save()

    def undo(self) -> None:
        """Remove everything that we made, put back everything that we changed."""
        self.keep(())
        self.promote((), alone=True)
        self.silence(False)

    def load(self) -> None:
        """What a predecessor of this boot and this network namespace left."""
        data = will.read_file(self._path)
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            self._made = {device.name: device for device in map(decode, data["devices"])}
            self._before = {path: [str(old), str(new)] for path, (old, new) in data["sysctls"].items()}
        self._saved = self._state()

    def _drop(self, names: Sequence[str]) -> None:
        if not names:
            return
        here = vmac.found()
        gone = [name for name in names if name in here and self._ours(name, here[name])]
        self._remove([here[name].ifindex for name in gone])
        for name in names:
            del self._made[name]
            self._told.pop(name, None)
        if gone:
            self._log("info", f"removed {', '.join(gone)}")

    def _remove(self, indexes: Sequence[int]) -> None:
        if not indexes:
            return
        requests = netlink.Requests()
        try:
            codes = requests.run(vmac.delete(indexes))
        finally:
            requests.close()
        if codes[-1] not in (0, errno.ENODEV):
            self._log("error", f"cannot remove virtual interfaces: {os.strerror(codes[-1])}")

    def _restore(self, paths: Sequence[str]) -> None:
        for path in paths:
            before, ours = self._before.pop(path)
            with contextlib.suppress(OSError):  # the interface has gone
                if vmac.sysctl(path) == ours:  # else somebody has changed it since
                    vmac.set_sysctl(path, before)

    def _fits(self, device: Device, there: vmac.Found, base: vmac.Found) -> bool:
        # On top of a macvlan the kernel takes the interface below that, which may be in another namespace.
        lies = there.base == base.ifindex or (there.base == base.base and base.base != 0)
        return lies and there.kind == device.kind and (not device.mac or there.mac == device.mac)

    def _ours(self, name: str, there: vmac.Found) -> bool:
        """The one that we made under this name, not another that somebody put in its place."""
        made = self._made.get(name)
        return made is not None and there.kind == made.kind and (not made.mac or there.mac == made.mac)

    # ---- file and log ----------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "devices": [encode(device) for device in self._made.values()],
            "sysctls": {path: list(values) for path, values in self._before.items()},
        }

    def _save(self) -> None:
        state = self._state()
        if state == self._saved:
            return
        self._saved = state
        if self._made or self._before:
            will.write_file(self._path, state)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def _tell(self, refused: dict[str, str]) -> None:
        """Each cause once."""
        for name, why in refused.items():
            if self._told.get(name) != why:
                self._log("error", why)
        self._told = refused


def encode(device: Device) -> list[str]:
    """A device as plain data, for the file and for the loader's answer."""
    return [device.name, device.base, device.kind, device.mac.hex(), device.mode, device.address.hex()]


def decode(data: Sequence[str]) -> Device:
    name, base, kind, mac, mode, address = data
    return Device(name, base, kind, bytes.fromhex(mac), mode, bytes.fromhex(address))


def _enslaved(here: Mapping[str, vmac.Found], devices: Iterable[Device]) -> list[vmac.Request]:
    """Each belongs into the VRF of the interface below: its addresses are reached by way of that."""
    pairs = [
        (here[device.name], here[device.base]) for device in devices if device.name in here and device.base in here
    ]
    return [vmac.put_into(base.vrf, there.ifindex) for there, base in pairs if there.vrf != base.vrf]


def _create(device: Device, base: int) -> vmac.Request:
    if device.kind == MACVLAN:
        return vmac.macvlan(device.name, base, device.mac)
    return vmac.ipvlan(device.name, base, device.mode)


def _reason(device: Device, code: int) -> str:
    if code == errno.EOPNOTSUPP:
        return f"this kernel has no {device.kind} (CONFIG_{device.kind.upper()}): {device.name} cannot be made"
    if code == errno.EADDRINUSE:
        return f"cannot make {device.name}: {device.mac.hex(':')} is on {device.base} already"
    if code == errno.EBUSY:
        return (
            f"cannot make {device.kind} {device.name}: {device.base} belongs to a bridge, a bond or an ipvlan already"
        )
    if code == errno.EINVAL:
        return f"cannot make {device.kind} {device.name} on {device.base}: no such interface can bear one"
    return f"cannot make {device.kind} {device.name} on {device.base}: {os.strerror(code)}"


def _with(device: Device) -> str:
    return f" with {device.mac.hex(':')}" if device.mac else ""
