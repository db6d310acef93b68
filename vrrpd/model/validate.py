"""What values mean together: defaults and inheritance filled in, limits of the versions, clashes between instances.

In: bound blocks. Out: resolved dataclasses and findings at the word that causes them. `survivable` marks what
keepalived repairs on its own; with --lenient the same repair is made here.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vrrpd.conf.schema import Binder, Bound
from vrrpd.conf.source import Place, Problems
from vrrpd.net.vmac import vrf_tables

from . import statics, vmac
from .globals import GlobalDefs
from .groups import for_members
from .groups import groups as sync_groups
from .instance import Instance, Surroundings, ipv
from .interfaces import delays, garp_groups
from .iproute2 import Names
from .machine import Interfaces, machine
from .routing import Compiler
from .scripts import Script, for_a_shell, group_exists, insecure, program, user_exists
from .trackers import Definitions, VrrpScript
from .values import FILE, PROCESS, SCRIPT
from .vrrp import VrrpInstance

DEFAULT_USER = "keepalived_script"  # keepalived.conf(5) "SCRIPTS": if there is such a user, else root
OUTSIDE = ("net_namespace", "instance", "child_wait_time")  # of global_defs, in the file


def global_defs(blocks: list[Bound], node_name: str) -> GlobalDefs:
    """All global_defs blocks together; the last value wins, lists add up."""
    values: dict[str, Any] = {}
    for bound in blocks:
        for name, value in bound.values.items():
            values[name] = values.get(name, ()) + tuple(value) if isinstance(value, list) else value
    values.setdefault("router_id", node_name)
    if values.get("process_names"):
        values.setdefault("process_name", "keepalived")
        values.setdefault("vrrp_process_name", "keepalived_vrrp")
    values["script_user"], values["script_group"] = values.get("script_user", ("", ""))
    if values.get("vrrp_min_garp"):  # keepalived.conf(5): one message, no second block
        values.setdefault("vrrp_garp_master_delay", 0.0)
        values.setdefault("vrrp_garp_master_repeat", 1)
    defs = GlobalDefs(**values)
    return dataclasses.replace(
        defs,
        vrrp_garp_lower_prio_delay=_first(defs.vrrp_garp_lower_prio_delay, defs.vrrp_garp_master_delay),
        vrrp_garp_lower_prio_repeat=_first(defs.vrrp_garp_lower_prio_repeat, defs.vrrp_garp_master_repeat),
        smtp_alert_vrrp=_first(defs.smtp_alert_vrrp, _first(defs.smtp_alert, False)),
    )


def substitutes(blocks: list[Bound], problems: Problems) -> None:
    """Of the ways that keepalived has to drop packets there is one here."""
    for bound in blocks:
        for name in ("vrrp_iptables", "vrrp_ipsets"):
            if name in bound.values:
                message = f"{name}: no_accept is done in nftables, no rule is made by iptables"
                problems.warning(bound.places[name].place(), message, "say 'nftables' instead")


def _first(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def instances(blocks: list[Bound], defs: GlobalDefs, problems: Problems, around: Surroundings) -> list[VrrpInstance]:
    """All instances, resolved; clashes between them reported."""
    found: list[VrrpInstance] = []
    names: dict[str, Bound] = {}
    for bound in blocks:
        if bound.name in names:
            line = names[bound.name].statement.line.number
            message = f"vrrp_instance {bound.name} is already defined in line {line}"
            problems.survivable(bound.statement.place(1), message, "this block would be skipped")
            continue
        names[bound.name] = bound
        found.append(Instance(bound, defs, problems, around).resolved())
    _dropped(found, names, problems)
    found = vmac.assign(found, names, defs, problems)
    _clashes(found, names, problems)
    _shared_addresses(found, names, problems)
    _paths(found, names, problems)
    return found


def _clashes(found: list[VrrpInstance], bounds: dict[str, Bound], problems: Problems) -> None:
    """keepalived: one VRID per interface and family, unless unicast keeps two instances apart."""
    taken: dict[tuple[str, int, int, bytes], list[VrrpInstance]] = {}
    for instance in found:
        group = b"" if instance.unicast_peer else instance.mcast_group
        key = (instance.interface, instance.family, instance.virtual_router_id, group)
        for other in taken.setdefault(key, []):
            apart = instance.unicast_peer and (
                not set(instance.unicast_peer) & set(other.unicast_peer)
                or (instance.unicast_src_ip or b"") != (other.unicast_src_ip or b"")
            )
            there = instance.interface or instance.unicast_src_ip  # else it has been said that both are missing
            if not apart and instance.virtual_router_id and there:
                where = f"on {instance.interface}" if instance.interface else "with this unicast_src_ip"
                problems.error(
                    bounds[instance.name].places["virtual_router_id"].place(1),
                    f"virtual_router_id {instance.virtual_router_id} {where} "
                    f"({ipv(instance.family).split()[1]}) is already that of {other.name}",
                )
        taken[key].append(instance)
    sources: dict[tuple[bytes, int], VrrpInstance] = {}
    for instance in found:
        if not instance.unicast_src_ip or not instance.unicast_peer:
            continue
        other = sources.setdefault((instance.unicast_src_ip, instance.virtual_router_id), instance)
        roaming = any(each.vrf or not each.interface for each in (instance, other))
        if roaming and other.interface != instance.interface and not (instance.vrf and other.vrf):
            message = f"unicast_src_ip: with this virtual_router_id it is that of {other.name}"
            hint = "who has no interface is told apart by the two alone: change one of them"
            problems.error(bounds[instance.name].places["unicast_src_ip"].place(1), message, hint)


def _dropped(found: list[VrrpInstance], bounds: dict[str, Bound], problems: Problems) -> None:
    """Strict mode has surprised many with addresses that do not answer: told once, at the first."""
    silent = [
        one.name for one in found if one.strict_mode and not one.accept and "accept" not in bounds[one.name].values
    ]
    if silent:
        others = f" and {len(silent) - 1} more" if silent[1:] else ""
        message = f"strict mode: packets to the addresses of {silent[0]}{others} are dropped (no_accept)"
        hint = "say 'accept', with version 3, if they are to answer pings and connections"
        bound = bounds[silent[0]]
        statement = bound.places.get("strict_mode")
        problems.warning(statement.place() if statement else bound.statement.place(1), message, hint)


def _paths(found: list[VrrpInstance], bounds: dict[str, Bound], problems: Problems) -> None:
    """One key for a peer; and routers that the second path can tell apart."""
    keys: dict[bytes, VrrpInstance] = {}
    names: dict[tuple[int, int, frozenset[bytes]], str] = {}
    for instance in found:
        for index, peer in enumerate(instance.peer_path):
            other = keys.setdefault(peer, instance)
            if other.peer_path_key != instance.peer_path_key:
                statement = bounds[instance.name].items["peer_path"][index]
                problems.error(statement.place(), f"peer_path: {statement.words[0]} has another key in {other.name}")
        if instance.peer_path:
            advertised = frozenset(entry.address for entry in instance.virtual_ipaddress)
            key = (instance.family, instance.virtual_router_id, advertised)
            if names.setdefault(key, instance.name) != instance.name:
                message = f"peer_path: neither this instance nor {names[key]} can use it"
                hint = "they have the same virtual_router_id and the same addresses: change one of the ids"
                problems.warning(bounds[instance.name].places["peer_path"].place(), message, hint)


def _shared_addresses(found: list[VrrpInstance], bounds: dict[str, Bound], problems: Problems) -> None:
    """Two routers with one address on one interface: whoever becomes BACKUP takes it from the other."""
    owners: dict[tuple[bytes, str], str] = {}
    for instance in found:
        for field in ("virtual_ipaddress", "virtual_ipaddress_excluded"):
            for index, item in enumerate(getattr(instance, field)):
                owner = owners.setdefault((item.address, item.dev or instance.interface), instance.name)
                if owner != instance.name:
                    statement = bounds[instance.name].items[field][index]
                    message = f"{field}: {statement.words[0]} is an address of {owner} too"
                    problems.warning(statement.place(), message, "the one that leaves MASTER removes it from the other")


def pipes(blocks: list[Bound], defs: GlobalDefs, problems: Problems) -> GlobalDefs:
    """A named pipe of its own for each purpose, and one for each script that reads."""
    places = {name: statement for bound in blocks for name, statement in bound.places.items()}
    changes: dict[str, Any] = {}
    first, second = defs.notify_fifo, defs.vrrp_notify_fifo
    if first and second and first.path == second.path:
        message = f"vrrp_notify_fifo: {second.path} is the notify_fifo already"
        problems.survivable(places["vrrp_notify_fifo"].place(1), message, "each line would come twice; remove one")
        changes["vrrp_notify_fifo"] = second = None
    for name, fifo in (("notify_fifo", first), ("vrrp_notify_fifo", second)):
        if fifo is not None and fifo.user and not user_exists(fifo.user):
            message = f"{name}: there is no user '{fifo.user}' on this machine, root will own {fifo.path}"
            problems.warning(places[name].place(2), message)
        if fifo is None and getattr(defs, f"{name}_script") is not None:
            if name not in {field for bound in blocks for field in bound.tried}:
                problems.survivable(places[f"{name}_script"].place(), f"{name}_script without {name}")
            changes[f"{name}_script"] = None
    return dataclasses.replace(defs, **changes) if changes else defs


def process(blocks: list[Bound], defs: GlobalDefs, problems: Problems) -> None:
    """What the daemon's own processes would be worse off with."""
    places = {name: statement for bound in blocks for name, statement in bound.places.items()}
    if defs.vrrp_priority is not None and defs.vrrp_rt_priority is None:
        message = "vrrp_priority: the vrrp process would not run in real time, as it does without this line"
        problems.warning(places["vrrp_priority"].place(), message, "remove it, or say 'vrrp_rt_priority 1'")
    if defs.reload_repeat and not defs.reload_time_file:
        problems.warning(places["reload_repeat"].place(), "reload_repeat does nothing without reload_time_file")


Command = tuple[str, Place, Script]  # what it is called in a message, where it stands


def commands(blocks: list[Bound], trackers: Definitions, checks: Iterable[VrrpScript]) -> Iterator[Command]:
    """Everything that a script is given for."""
    for bound in blocks:
        for row in bound.block.keywords.values():
            script = bound.values.get(row.field) if row.type.type == "script" else None
            if script is not None and script.argv:
                yield row.field, bound.places[row.field].place(1), script
    for check in checks:
        place = trackers.place(SCRIPT, check.name, "script")
        user, group = check.user
        yield f"vrrp_script {check.name}", place, dataclasses.replace(check.script, user=user, group=group)


def scripts(found: Iterable[Command], defs: GlobalDefs, problems: Problems) -> None:
    """What the scripts need of this machine: programs that exist, and that others may not change."""
    judged: dict[str, tuple[str, str] | None] = {}
    as_root: Place | None = None
    default_user = defs.script_user or (DEFAULT_USER if user_exists(DEFAULT_USER) else "")
    for name, place, script in found:
        user = script.user or default_user
        group = script.group if script.user else defs.script_group
        if user and not user_exists(user):
            quotes = "put a command with arguments in quotes" if script.user else ""
            message = f"{name}: there is no user '{user}' on this machine, the script cannot run"
            problems.warning(place, message, quotes)
        elif group and not group_exists(group):
            problems.warning(place, f"{name}: there is no group '{group}' on this machine, the script cannot run")
        path = program(script.argv[0])
        shell = for_a_shell(script.argv)
        if shell and (path is not None or shell[0] == script.argv[0]):
            problems.warning(place, f"{name}: '{shell[0]}' means nothing without a shell, and none is called", shell[1])
        elif path is None:
            problems.warning(place, f"{name}: there is no program '{script.argv[0]}' on this machine")
        if path is None:
            continue
        if not os.access(path, os.X_OK):
            hint = f"make it so with: chmod +x {shlex.quote(path)}"
            problems.warning(place, f"{name}: {path} is not executable", hint)
        if (user or "root") != "root":
            continue
        as_root = as_root or place
        if path not in judged:
            judged[path] = insecure(path)
        finding = judged[path]
        if finding:
            problems.security(place, f"{name}: root would run {path}, but {finding[0]}", f"mend it with: {finding[1]}")
    if as_root is not None and not defs.enable_script_security:
        problems.warning(as_root, "scripts run as root and enable_script_security is not set", "set it in global_defs")


def resolve(
    binder: Binder, top: Bound, node_name: str, interfaces: Interfaces | None, mtus: Mapping[str, int]
) -> dict[str, Any]:
    """Everything of a file, as the fields of a Model."""
    problems = binder.problems
    globals_ = top.values.get("global_defs", [])
    outside = {name: top.values[name] for name in OUTSIDE if name in top.values}
    defs = dataclasses.replace(pipes(globals_, global_defs(globals_, node_name), problems), **outside)
    process(globals_, defs, problems)
    substitutes(globals_, problems)
    blocks = top.values.get("vrrp_instance", [])
    names = Names((defs.iproute_usr_dir, defs.iproute_etc_dir), vrf_tables)
    compiler = Compiler(names, problems)
    known = {bound.name for bound in blocks}
    static = statics.resolve(top, defs.default_interface, compiler, known, problems)
    trackers = Definitions(top, problems)
    found = instances(blocks, defs, problems, Surroundings(mtus, compiler, trackers))
    group_blocks = top.values.get("vrrp_sync_group", [])
    groups = sync_groups(group_blocks, found, defs, trackers, problems)
    found = for_members(groups, blocks, found, problems)
    checks = trackers.used(SCRIPT)
    scripts(commands([*globals_, *blocks, *group_blocks], trackers, checks), defs, problems)
    if interfaces is not None:
        machine(blocks, found, interfaces, problems)
    return {
        "global_defs": defs,
        "vrrp_instances": tuple(found),
        "vrrp_sync_groups": tuple(groups),
        "vrrp_scripts": checks,
        "track_files": trackers.used(FILE),
        "track_processes": trackers.used(PROCESS),
        "interface_delays": delays(top, found, problems),
        "garp_groups": garp_groups(top.values.get("garp_group", ()), problems),
        "statics": static,
    }
