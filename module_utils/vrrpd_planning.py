# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The plan of VRRP clusters, from their inventory alone: who gets which priority, peers and configuration lines.

In: the vrrpd_* variables of every host of the clusters (plain data), the groups, the daemon's keyword table. Out: one
plan per host (an ordered tree of configuration lines with placeholders where a secret belongs), the secrets apart,
and every finding at once. Pure: no file, no node, no clock. What only a node can know (does the interface exist, is
the address inside its subnet) the daemon's own checker answers there.

A finding names the host, the variable, the value and what to set. A password is never part of one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Iterable
from typing import Any, NamedTuple, Union

from ansible.module_utils.vrrpd_groups import check_groups, check_tracking, groups_of, members_here
from ansible.module_utils.vrrpd_lines import (
    GLOBAL,
    GROUP,
    INSTANCE,
    TOP,
    VARIABLE,
    Findings,
    Lines,
    as_list,
    as_number,
    blocks_of,
    check_holdable,
    entries,
    hint,
    is_bool,
    is_name,
    is_true,
    keywords_of,
    kind_of,
    lines_of,
    merged,
    placeholder,
    shown,
)
from ansible.module_utils.vrrpd_mask import SECRETS
from ansible.module_utils.vrrpd_rotation import facts, phased
from ansible.module_utils.vrrpd_router import Host, Router, by_instance

DEFAULT_CLUSTER = "vrrp"
TOOLKIT_KEYS = frozenset({"hosts"})  # of an instance: what the toolkit reads and the daemon never sees
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class Plan(NamedTuple):
    """`hosts`: what to deploy, by host. `table`: rows to show."""

    hosts: dict[str, dict[str, Any]]
    clusters: dict[str, dict[str, Any]]
    table: list[dict[str, Any]]
    errors: list[str]
    warnings: list[str]


def derived_priority(rank: int, size: int) -> int:
    """200, 190, ... while ten apart fits (20 hosts), else 254, 253, ..."""
    return 200 - 10 * rank if size <= 20 else 254 - rank


def plan(
    nodes: dict[str, Host],
    groups: dict[str, list[str]],
    table: dict[str, Any],
    specs: dict[str, Any],
    defaults: Host | None = None,
    record: dict[str, Any] | None = None,
    rotation: dict[str, Any] | None = None,
) -> Plan:
    """Plan every cluster that a host of `nodes` names.

    `rotation` of keys: its phase and what runs, {phase:, running: host -> instance -> auth_hmac of status}.
    `specs` are the role's variables (type, choices), `record` is what the last run wrote down.
    """
    findings = Findings()
    nodes = {name: {**(defaults or {}), **variables} for name, variables in nodes.items()}
    for name, variables in nodes.items():
        _check_variables(name, variables, specs, findings)
    clusters: dict[str, list[str]] = {}
    for name in nodes:
        cluster = _text(nodes[name].get("vrrpd_cluster")) or DEFAULT_CLUSTER
        if name not in groups.get(cluster, []):
            there = ", ".join(sorted(set(groups) - {"all", "ungrouped"})) or "none"
            findings.error(
                f"{name}: vrrpd_cluster",
                f"the host is not in a group '{cluster}': put it there, or name its group (groups: {there})",
            )
        clusters.setdefault(cluster, [])
    for cluster in clusters:
        clusters[cluster] = [
            name for name in groups.get(cluster, []) if name in nodes and _cluster_of(nodes[name]) == cluster
        ]

    routers: list[Router] = []
    for cluster, members in clusters.items():
        if len(members) == 1 and not is_true(nodes[members[0]].get("vrrpd_allow_single")):
            findings.error(
                f"{members[0]}: vrrpd_cluster",
                f"group '{cluster}' has one host, so nothing survives its loss: add a second host,"
                " or say vrrpd_allow_single: true",
            )
        routers += _routers(cluster, members, nodes, table, findings)
    _check_agreement(routers, nodes, findings)
    _check_priorities(routers, findings)
    _check_segments(routers, nodes, findings)
    check_groups(routers, nodes, findings)
    check_tracking(routers, nodes, findings)
    routers = _phased(routers, rotation, findings)
    peers = _unicast(routers, nodes, findings)
    paths = _paths(routers, nodes, findings)
    states = _states(routers)

    hosts: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    summary: dict[str, dict[str, Any]] = {}
    for cluster, members in clusters.items():
        left = _left(cluster, members, nodes, record, findings)
        summary[cluster] = {"hosts": members, "left": left, "instances": []}
        for name in members:
            mine = [router for router in routers if router.host == name]
            blocks = _other_blocks(
                name, nodes[name], mine, [each for each in routers if each.cluster == cluster], table, findings
            )
            wires: dict[str, str] = {}
            keys: dict[str, dict[str, Any]] = {}
            for router in mine:
                keywords = dict(router.keywords)
                keywords.update(peers.get((name, router.name), {}))
                keywords.update(paths.get((name, router.name), {}))
                keywords.setdefault("state", states[(name, router.name)])
                keywords["priority"] = router.priority
                where = f"{name}: vrrpd_instances.{router.name}"
                items = lines_of(INSTANCE, keywords, table, where, findings, (router.name,))
                blocks.append({"keyword": INSTANCE, "name": router.name, "form": "block", "items": items})
                wires[router.name] = _wire(router, keywords, nodes[name])
                keys[router.name] = facts(router.name, keywords.get("auth_hmac"))
                rows.append(_row(router, keywords["state"], record))
                if router.name not in summary[cluster]["instances"]:
                    summary[cluster]["instances"].append(router.name)
            if not mine:
                findings.error(
                    f"{name}: vrrpd_instances",
                    "no instance for this host: describe one (name -> interface, virtual_router_id, virtual_ipaddress)",
                )
            hosts[name] = {
                "cluster": cluster,
                "blocks": blocks,
                "wires": wires,
                "hmac": keys,
                "members": members,
                "left": left,
            }
    errors, warnings = (
        [where_it_stands(line, nodes) for line in each] for each in (findings.errors, findings.warnings)
    )
    return Plan(hosts, summary, rows, errors, warnings)


def where_it_stands(line: str, nodes: dict[str, Host]) -> str:
    """A finding at the variable that has the value: what a host overrides stands in its vrrpd_overrides."""
    host, _, told = line.partition(": ")
    place, _, what = told.partition(": ")
    variable, _, path = place.partition(".")
    if variable not in (*VARIABLE.values(), "vrrpd_blocks") or not path:
        return line
    path = f"{GLOBAL}.{path}" if variable == VARIABLE[GLOBAL] else path
    found: Any = nodes.get(host, {}).get("vrrpd_overrides")
    for step in path.split("."):
        if not isinstance(found, dict):
            break
        if step not in found:
            return line
        found = found[step]
    return line if found is None else f"{host}: vrrpd_overrides.{path}: {what}"


def message(errors: list[str]) -> str:
    """All the findings as one message; what is the same on several hosts is one."""
    lines = together(errors)
    count = f"{len(lines)} finding{'s' if len(lines) > 1 else ''}"
    return f"the inventory has {count}, no node was touched:\n" + "\n".join(f"  - {line}" for line in lines)


def together(findings: list[str]) -> list[str]:
    """`host: what` with all hosts of which the same is said."""
    hosts: dict[str, list[str]] = {}
    for line in findings:
        host, _, what = line.partition(": ")
        hosts.setdefault(what, []).append(host)
    return [f"{', '.join(names)}: {what}" for what, names in hosts.items()]


def new_record(result: Plan, former: dict[str, Any] | None) -> dict[str, Any]:
    """What the next run compares with: the hosts and priorities of each cluster, and who left without being removed."""
    record = dict(former or {})
    for cluster, summary in result.clusters.items():
        known: dict[str, dict[str, int]] = {}
        for row in result.table:
            if row["cluster"] == cluster:
                known.setdefault(row["host"], {})[row["instance"]] = row["priority"]
        past = (former or {}).get(cluster, {})
        past = {**past.get("left", {}), **past.get("hosts", {})}
        record[cluster] = {"hosts": known, "left": {name: past.get(name, {}) for name in summary["left"]}}
    return record


# --- variables -------------------------------------------------------------------------------------------------------


def _cluster_of(variables: Host) -> str:
    return _text(variables.get("vrrpd_cluster")) or DEFAULT_CLUSTER


def _check_variables(host: str, variables: Host, specs: dict[str, Any], findings: Findings) -> None:
    for variable in sorted(variables):
        if not variable.startswith("vrrpd_"):
            continue
        if variable not in specs:
            findings.error(f"{host}: {variable}", f"nothing reads this variable{hint(variable, specs, 'vrrpd_')}")
            continue
        value, spec = variables[variable], specs[variable]
        if value is None:
            continue
        choices = spec.get("choices")
        if spec["type"] == "bool" and not is_bool(value):
            findings.error(f"{host}: {variable}", f"{shown(value)} is neither true nor false")
        elif spec["type"] == "int" and variable != "vrrpd_priority" and not is_whole(value):
            findings.error(f"{host}: {variable}", f"{shown(value)} is not a whole number")
        elif choices and str(value) not in [str(choice) for choice in choices]:
            findings.error(f"{host}: {variable}", f"{shown(value)} is none of {', '.join(map(str, choices))}")
    for variable in ("vrrpd_instances", "vrrpd_global_defs", "vrrpd_blocks", "vrrpd_overrides"):
        if not isinstance(variables.get(variable, {}), dict):
            findings.error(f"{host}: {variable}", f"is a {kind_of(variables[variable])}: write a dictionary")
            variables[variable] = {}
    known = variables.get("vrrpd_instances", {})
    for variable in ("vrrpd_instances", "vrrpd_overrides"):
        instances = variables.get(variable, {})
        for name in [name for name, keywords in instances.items() if not isinstance(keywords, dict)]:
            if variable == "vrrpd_overrides" and name not in known and name != GLOBAL:
                continue  # of vrrpd_blocks, or of nothing: looked at there
            if not (name in known and instances[name] is None):
                findings.error(f"{host}: {variable}.{name}", f"is a {kind_of(instances[name])}: write keyword: value")
            instances[name] = {}
    priority = variables.get("vrrpd_priority")
    if priority is not None and not is_priority(priority):
        findings.error(
            f"{host}: vrrpd_priority", f"{shown(priority)} is not a whole number in 1..255: set one, or leave it out"
        )
        variables["vrrpd_priority"] = None


def _routers(
    cluster: str, members: list[str], nodes: dict[str, Host], table: dict[str, Any], findings: Findings
) -> list[Router]:
    names: list[str] = []
    for host in members:
        names += [name for name in nodes[host].get("vrrpd_instances", {}) if name not in names]
    for host in members:
        for name in nodes[host].get("vrrpd_overrides", {}):
            if name not in names and name not in keywords_of(TOP, table):
                findings.error(
                    f"{host}: vrrpd_overrides.{name}",
                    f"no such instance{hint(name, names)}; instances: {', '.join(names)}",
                )
    turns = _turns(names, [group for host in members for group in groups_of(nodes[host]).values()])
    result: list[Router] = []
    for name in names:
        is_name(f"{members[0]}: vrrpd_instances.{name}", name, findings)
        chosen = [host for host in members if name in nodes[host].get("vrrpd_instances", {})]
        subsets = {host: nodes[host]["vrrpd_instances"][name].get("hosts") for host in chosen}
        users: list[str] = []
        for host in chosen:
            subset = subsets[host]
            if subset is None:
                users.append(host)
                continue
            subset = [subset] if isinstance(subset, str) else list(subset)
            for unknown in [other for other in subset if other not in members]:
                findings.error(
                    f"{host}: vrrpd_instances.{name}.hosts",
                    f"'{unknown}' is not in group '{cluster}'{hint(str(unknown), members)}",
                )
            if host in subset:
                users.append(host)
        if len(users) == 1 and len(members) > 1 and not is_true(nodes[users[0]].get("vrrpd_allow_single")):
            findings.error(
                f"{users[0]}: vrrpd_instances.{name}.hosts",
                "one host alone carries this instance, so its address does not survive: name a second host,"
                " or say vrrpd_allow_single: true",
            )
        for host in users:
            variables = nodes[host]
            keywords = merged(variables["vrrpd_instances"][name], variables.get("vrrpd_overrides", {}).get(name, {}))
            keywords = {key: value for key, value in keywords.items() if value is not None and key not in TOOLKIT_KEYS}
            if is_true(variables.get("vrrpd_rotate")):
                size = len(users)
                rank = (users.index(host) - turns[name]) % size
            else:
                size = len(members)
                rank = members.index(host)
            result.append(_router(cluster, host, name, keywords, variables, rank, size, table, findings))
    return result


def _turns(names: list[str], groups: list[list[str]]) -> dict[str, int]:
    """Whose turn it is under vrrpd_rotate: one after the other, the members of a sync group together."""
    turns: dict[str, int] = {}
    for name in names:
        together = [turns[member] for group in groups if name in group for member in group if member in turns]
        turns[name] = together[0] if together else len(set(turns.values()))
    return turns


def _roams(keywords: dict[str, Any], variables: Host) -> bool:
    """keepalived.conf(5): unicast may do without an interface, when every address says where it lies."""
    unicast = is_true(variables.get("vrrpd_unicast")) or {"unicast_src_ip", "unicast_peer"} <= keywords.keys()
    addresses = entries(keywords.get("virtual_ipaddress") or [])
    placed = "default_interface" in _defs(variables) or all("dev" in str(line).split() for line in addresses)
    return unicast and bool(addresses) and placed


def _router(
    cluster: str,
    host: str,
    name: str,
    keywords: dict[str, Any],
    variables: Host,
    rank: int,
    size: int,
    table: dict[str, Any],
    findings: Findings,
) -> Router:
    where = f"{host}: vrrpd_instances.{name}"
    priority, origin = derived_priority(rank, size), "derived"
    if variables.get("vrrpd_priority") is not None:
        priority, origin = int(variables["vrrpd_priority"]), "vrrpd_priority"
    if "priority" in keywords:
        if is_priority(keywords["priority"]):
            priority, origin = int(keywords["priority"]), "priority"
        else:
            findings.error(f"{where}.priority", f"{shown(keywords['priority'])} is not a whole number in 1..255")
    if priority < 1:
        findings.error(
            f"{where}.priority", f"rank {rank} of {size} hosts leaves no priority: set vrrpd_priority yourself"
        )
    for keyword, what, example in (
        ("interface", "the interface that carries the address", "eth0"),
        ("virtual_router_id", "a number in 1..255 that no other cluster of the segment uses", "51"),
        ("virtual_ipaddress", "the addresses to share", "[192.0.2.100/24]"),
    ):
        if keyword == "interface" and _roams(keywords, variables):
            continue
        if keyword not in keywords and keyword in keywords_of("vrrp_instance", table):
            findings.error(f"{where}.{keyword}", f"missing: set {what}, e.g. {keyword}: {example}")
    interface = keywords.get("interface")
    if interface is not None and not 1 <= len(str(interface)) <= 15:
        findings.error(f"{where}.interface", f"'{interface}' is no interface name (1 to 15 characters)")
    addresses: list[str] = []
    families: list[int] = []
    for line in entries(keywords.get("virtual_ipaddress") or []):
        word = str(line).split()[0] if str(line).split() else ""
        try:
            address = ipaddress.ip_interface(word)
        except ValueError:
            findings.error(
                f"{where}.virtual_ipaddress", f"'{line}' does not begin with an address: write ADDRESS/LENGTH"
            )
            continue
        if _is_edge(address):
            findings.error(
                f"{where}.virtual_ipaddress",
                f"{word} is the network or broadcast address of {address.network}: choose a host address",
            )
        if str(address) in addresses:
            findings.error(f"{where}.virtual_ipaddress", f"{word} stands there twice: once is enough")
        addresses.append(str(address))
        families.append(address.version)
    if len(set(families)) > 1:
        findings.error(
            f"{where}.virtual_ipaddress",
            "IPv4 and IPv6 mixed in one instance: make two instances (they may share the virtual_router_id)",
        )
    family = families[0] if families else 4
    version = keywords.get("version", _defs(variables).get("vrrp_version", 2))
    version = 3 if family == 6 else version
    if version not in (2, 3):
        findings.error(f"{where}.version", f"{shown(version)} is neither 2 nor 3")
        version = 2
    _check_authentication(where, keywords, version, family, findings)
    _check_interval(where, keywords, version, findings)
    _check_path_key(where, keywords, findings)
    return Router(host, cluster, name, keywords, priority, origin, family, version, tuple(addresses))


def _check_authentication(where: str, keywords: dict[str, Any], version: int, family: int, findings: Findings) -> None:
    if "authentication" not in keywords:
        return
    authentication = keywords["authentication"]
    if not isinstance(authentication, dict):
        findings.error(f"{where}.authentication", "write {auth_type: PASS, auth_pass: ...}")
        return
    if version == 3:
        why = "an IPv6 instance speaks VRRPv3, which" if family == 6 else "version 3"
        findings.error(
            f"{where}.authentication",
            f"{why} has no authentication: use auth_hmac, or remove it"
            + ("" if family == 6 else ", or set version: 2"),
        )
    password = authentication.get("auth_pass")
    where = f"{where}.authentication.auth_pass"
    if password is None:
        findings.error(where, "missing: set 1 to 8 characters, from a vault")
        return
    if not isinstance(password, (str, int)) or isinstance(password, bool):
        findings.error(where, f"is a {kind_of(password)}: write a string in quotes")
        return
    password = str(password)
    if not 1 <= len(password.encode()) <= 8:
        findings.error(where, f"has {len(password.encode())} characters, VRRPv2 carries 1 to 8: set a shorter one")
    check_holdable(where, password, findings)


def _check_path_key(where: str, keywords: dict[str, Any], findings: Findings) -> None:
    key, where = keywords.get("peer_path_key"), f"{where}.peer_path_key"
    if key is None:
        if keywords.get("peer_path"):
            findings.error(where, "missing: set the same 16 to 64 characters on every host, from a vault")
    elif not isinstance(key, str):
        findings.error(where, f"is a {kind_of(key)}: write a string in quotes")
    else:
        if not 16 <= len(key.encode()) <= 64:
            findings.error(where, f"has {len(key.encode())} characters, 16 to 64 are needed: openssl rand -hex 32")
        check_holdable(where, key, findings)


def _check_interval(where: str, keywords: dict[str, Any], version: int, findings: Findings) -> None:
    try:
        interval = float(keywords.get("advert_int", 1))
    except (TypeError, ValueError):
        findings.error(f"{where}.advert_int", f"{shown(keywords['advert_int'])} is not a number of seconds")
        return
    if version == 2 and interval != int(interval):
        findings.error(
            f"{where}.advert_int", f"{interval:g} s: VRRPv2 knows whole seconds, set version: 3 or advert_int: 1"
        )
    elif version == 2 and not 1 <= interval <= 255:
        findings.error(f"{where}.advert_int", f"{interval:g} s is outside 1..255")
    elif version == 3 and not 0.01 <= interval <= 40.95:
        findings.error(f"{where}.advert_int", f"{interval:g} s is outside 0.01..40.95")


# --- the cluster as one ----------------------------------------------------------------------------------------------


def _check_agreement(routers: list[Router], nodes: dict[str, Host], findings: Findings) -> None:
    """What the adverts carry must be the same on every node, or they are dropped and there are two owners."""

    def differ(group: list[Router], keyword: str, values: dict[str, str], show: bool = True) -> None:
        if len(set(values.values())) < 2:
            return
        seen: dict[str, list[str]] = {}
        for host, value in values.items():
            seen.setdefault(value, []).append(host)
        told = ", ".join(f"{value} on {'/'.join(hosts)}" for value, hosts in seen.items())
        odd = min(seen.values(), key=len)[0] if len(seen) > 1 else group[0].host
        findings.error(
            f"{odd}: vrrpd_instances.{group[0].name}.{keyword}",
            (f"the nodes disagree ({told})" if show else "the nodes disagree (values not shown)")
            + ": set it once, in the group's vrrpd_instances",
        )

    for group in by_instance(routers).values():
        differ(group, "virtual_router_id", {r.host: str(r.keywords.get("virtual_router_id")) for r in group})
        differ(group, "version", {r.host: str(r.version) for r in group})
        differ(group, "advert_int", {r.host: as_number(r.keywords.get("advert_int", 1)) for r in group})
        differ(
            group, "authentication", {r.host: _canonical(r.keywords.get("authentication")) for r in group}, show=False
        )
        differ(group, "mcast_dst_ip", {r.host: str(_group(r, nodes[r.host]) or "the usual group") for r in group})
        differ(group, "auth_hmac", {r.host: _canonical(r.keywords.get("auth_hmac")) for r in group}, show=False)
        differ(group, "virtual_ipaddress", {r.host: " ".join(sorted(r.addresses)) or "none" for r in group})
        without = [r.host for r in group if not r.keywords.get("use_vmac")]
        if 0 < len(without) < len(group):
            findings.warning(
                f"{without[0]}: vrrpd_instances.{group[0].name}.use_vmac",
                f"not on {', '.join(without)}: there the address has another MAC address; set it once, for the group",
            )


def _check_priorities(routers: list[Router], findings: Findings) -> None:
    for group in by_instance(routers).values():
        owners = [router.host for router in group if router.priority == 255]
        if len(owners) > 1:
            findings.error(
                f"{owners[1]}: vrrpd_instances.{group[0].name}",
                f"priority 255 says 'I own the address', and {owners[0]} says it too: leave it to one host",
            )
        taken = {router.priority for router in group}
        first: dict[int, Router] = {}
        for router in group:
            other = first.setdefault(router.priority, router)
            if other is router or router.priority == 255:
                continue
            variable = {
                "derived": f"vrrpd_instances.{router.name} (derived)",
                "priority": f"vrrpd_instances.{router.name}.priority",
            }
            free = next((n for n in range(router.priority - 1, 0, -1) if n not in taken), None)
            free = free or next(n for n in range(254, 0, -1) if n not in taken)
            findings.error(
                f"{router.host}: {variable.get(router.origin, router.origin)}",
                f"priority {router.priority} of {router.name} is {other.host}'s too: set vrrpd_priority of one of them"
                f" to a free value, e.g. {free}",
            )


def _check_segments(routers: list[Router], nodes: dict[str, Host], findings: Findings) -> None:
    """VRIDs are unique per segment and family; an address has one instance."""
    seen: dict[tuple[str, str, str, int], Router] = {}
    for router in routers:
        vrid = str(router.keywords.get("virtual_router_id"))
        where = router.keywords.get("interface") or router.keywords.get("unicast_src_ip")
        key = (router.host, str(where or "the same source"), vrid, router.family)
        other = seen.setdefault(key, router)
        if other is not router:
            findings.error(
                f"{router.host}: vrrpd_instances.{router.name}.virtual_router_id",
                f"{vrid} is {other.name}'s on {key[1]} too: every instance of a segment needs its own",
            )
    groups = by_instance(routers)
    firsts = [group[0] for group in groups.values()]
    for index, router in enumerate(firsts):
        for other in firsts[:index]:
            shared = set(_bare(router.addresses)) & set(_bare(other.addresses))
            for address in sorted(shared):
                findings.error(
                    f"{router.host}: vrrpd_instances.{router.name}.virtual_ipaddress",
                    f"{address} belongs to {other.name} of group '{other.cluster}' too: an address has one instance",
                )
            vrid = str(router.keywords.get("virtual_router_id"))
            if other.cluster == router.cluster or other.family != router.family:
                continue
            if str(other.keywords.get("virtual_router_id")) != vrid:
                continue
            where = f"{router.host}: vrrpd_instances.{router.name}.virtual_router_id"
            told = f"{vrid} is used by {other.name} of group '{other.cluster}' too"
            if _overlap(router.addresses, other.addresses):
                findings.error(where, f"{told}, in the same network: choose another")
            elif not (_networks(router.addresses) and _networks(other.addresses)):
                findings.warning(where, f"{told}: if both are on one segment, choose another")
    for router in routers:
        for host in nodes:
            for own in _host_addresses(nodes[host]):
                if str(own) in _bare(router.addresses) and not (host == router.host and router.priority == 255):
                    if host != router.host and any(
                        r.host == host and r.name == router.name and r.priority == 255 for r in routers
                    ):
                        continue
                    findings.error(
                        f"{host}: vrrpd_instances.{router.name}.virtual_ipaddress",
                        f"{own} is the host's own address: choose a free one, or set vrrpd_priority: 255 for its owner",
                    )


def _states(routers: list[Router]) -> dict[tuple[str, str], str]:
    """MASTER for the highest priority; BACKUP for the rest and, where a host waits before it takes over, for all.

    keepalived ignores nopreempt and preempt_delay beside state MASTER (keepalived.conf(5)), and vrrpd refuses the pair.
    """
    states: dict[tuple[str, str], str] = {}
    for group in by_instance(routers).values():
        highest = max(group, key=lambda router: router.priority)
        waits = any(is_true(router.keywords.get("nopreempt")) or "preempt_delay" in router.keywords for router in group)
        for router in group:
            states[(router.host, router.name)] = "MASTER" if router is highest and not waits else "BACKUP"
    return states


def _unicast(
    routers: list[Router], nodes: dict[str, Host], findings: Findings
) -> dict[tuple[str, str], dict[str, Any]]:
    """Peers are everybody else's source address; nobody types them."""
    result: dict[tuple[str, str], dict[str, Any]] = {}
    for group in by_instance(routers).values():
        wanted = [router for router in group if is_true(nodes[router.host].get("vrrpd_unicast"))]
        if not wanted:
            continue
        if len(wanted) != len(group):
            rest = ", ".join(router.host for router in group if router not in wanted)
            findings.error(
                f"{wanted[0].host}: vrrpd_unicast", f"true here but not on {rest}: set it once, for the group"
            )
            continue
        sources: dict[str, str] = {}
        for router in group:
            source = router.keywords.get("unicast_src_ip") or next(
                (str(own) for own in _host_addresses(nodes[router.host]) if own.version == router.family), None
            )
            if source is None:
                findings.error(
                    f"{router.host}: vrrpd_address",
                    f"no IPv{router.family} address known for unicast ({router.name}):"
                    " set vrrpd_address to the host's own",
                )
            else:
                sources[router.host] = str(source)
        for router in group:
            if router.host in sources:
                others = [sources[other.host] for other in group if other is not router and other.host in sources]
                result[(router.host, router.name)] = {"unicast_src_ip": sources[router.host], "unicast_peer": others}
    return result


def _paths(routers: list[Router], nodes: dict[str, Host], findings: Findings) -> dict[tuple[str, str], dict[str, Any]]:
    """An instance with a peer_path_key: every other host's address on the second path, the best one first."""
    result: dict[tuple[str, str], dict[str, Any]] = {}
    for group in by_instance(routers).values():
        wanted = [router for router in group if "peer_path_key" in router.keywords]
        ends = {router.host: _text(nodes[router.host].get("vrrpd_path_address")) for router in wanted}
        for router in wanted:
            if not ends[router.host] and "peer_path" not in router.keywords:
                findings.error(
                    f"{router.host}: vrrpd_path_address",
                    f"missing: {router.name} has a peer_path_key, set the host's address on another interface than"
                    f" {router.keywords.get('interface')}",
                )
            others = sorted((other for other in wanted if other is not router), key=lambda other: -other.priority)
            peers = [ends[other.host] for other in others if ends[other.host]]
            if peers and "peer_path" not in router.keywords:
                result[(router.host, router.name)] = {"peer_path": peers}
    return result


def _left(
    cluster: str, members: list[str], nodes: dict[str, Host], record: dict[str, Any] | None, findings: Findings
) -> list[str]:
    """Hosts of the last runs that are not in the inventory any more: their daemon may still run."""
    former = (record or {}).get(cluster, {})
    retired = {str(name) for host in members for name in as_list(nodes[host].get("vrrpd_retired") or [])}
    known: dict[str, Any] = {**former.get("left", {}), **former.get("hosts", {})}
    left = [name for name in known if name not in members and name not in retired]
    for name in left:
        priorities = ", ".join(f"{instance} {priority}" for instance, priority in known[name].items())
        findings.warning(
            f"{name}: no longer in group '{cluster}'",
            f"a possible rival while its daemon runs (last priorities: {priorities or 'unknown'}):"
            f" run playbooks/remove.yml on it with the inventory that still names it, then say vrrpd_retired: [{name}]",
        )
    return left


# --- lines of the configuration --------------------------------------------------------------------------------------


def _defs(variables: Host) -> dict[str, Any]:
    """global_defs of a host."""
    defs = {**variables.get("vrrpd_global_defs", {}), **variables.get("vrrpd_overrides", {}).get(GLOBAL, {})}
    return {key: value for key, value in defs.items() if value is not None}


def _other_blocks(
    host: str,
    variables: Host,
    mine: list[Router],
    routers: list[Router],
    table: dict[str, Any],
    findings: Findings,
) -> Lines:
    """What stands before the instances: keepalived, too, can read a file whose checks come before their users."""
    overrides = variables.get("vrrpd_overrides", {})
    items = lines_of(GLOBAL, _defs(variables), table, f"{host}: vrrpd_global_defs", findings, (GLOBAL,))
    blocks = [{"keyword": GLOBAL, "name": "", "form": "block", "items": items}] if items else []
    wanted = blocks_of(variables.get("vrrpd_blocks", {}), overrides, [router.name for router in routers])
    for keyword in set(wanted) - set(variables.get("vrrpd_blocks", {})) - set(keywords_of(TOP, table)):
        wanted.pop(keyword)  # the override of nothing, named already
    for keyword in [keyword for keyword in wanted if keyword in VARIABLE]:
        findings.error(f"{host}: vrrpd_blocks.{keyword}", f"has a variable of its own: {VARIABLE[keyword]}")
        wanted.pop(keyword)
    here = [router.name for router in mine]
    groups = members_here(groups_of(variables), here, {router.name for router in routers})
    if isinstance(wanted.get(GROUP), dict):
        said = groups_of(variables)
        wanted[GROUP] = {
            name: {**keywords, "group": groups[name]} if name in groups else keywords
            for name, keywords in wanted[GROUP].items()
            if len(groups.get(name, ())) > 1 or groups.get(name) == said.get(name)  # one that is left is no group
        }
    return blocks + lines_of(TOP, wanted, table, f"{host}: vrrpd_blocks", findings, ())


def _phased(routers: list[Router], rotation: dict[str, Any] | None, findings: Findings) -> list[Router]:
    """With the keys that each host is to have in this phase of a rotation."""
    if not rotation:
        return routers
    running = rotation["running"]
    found: list[Router] = []
    for router in routers:
        hmac = router.keywords.get("auth_hmac")
        if isinstance(hmac, dict):
            hosts = [each.host for each in routers if (each.cluster, each.name) == (router.cluster, router.name)]
            seen = {host: (running.get(host) or {}).get(router.name) for host in hosts}
            try:
                now = phased(hmac, rotation["phase"], list(seen.values()), seen[router.host])
                router = router._replace(keywords={**router.keywords, "auth_hmac": now})
            except LookupError as error:
                where = f"{router.host}: vrrpd_instances.{router.name}.auth_hmac.key"
                sender = next(host for host, one in seen.items() if one and one["active_key"] == error.args[0])
                findings.error(
                    where,
                    f"{sender} sends with key {error.args[0]}: keep it there until no node sends with it any more",
                )
        found.append(router)
    return found


def _wire(router: Router, keywords: dict[str, Any], variables: Host) -> str:
    """What the peers must agree on: when it changes, all nodes have to change at once.

    The address list is part of it only beside keepalived before 2.3.3, which drops adverts with another list
    (RFC 9568 7.1 leaves it to the receiver, and vrrpd accepts and counts).
    """
    facts = {
        "virtual_router_id": keywords.get("virtual_router_id"),
        "family": router.family,
        "version": router.version,
        "advert_int": as_number(keywords.get("advert_int", 1)) if router.version == 2 else None,
        "authentication": _canonical(
            {
                key: placeholder(router.name, "authentication", key) if key in SECRETS else value
                for key, value in (keywords.get("authentication") or {}).items()
            }
            if isinstance(keywords.get("authentication"), dict)
            else None
        ),
        "unicast": bool(keywords.get("unicast_peer")),
        "group": _group(router, variables),
        "addresses": sorted(router.addresses) if is_true(variables.get("vrrpd_keepalived_peers")) else None,
    }
    return json.dumps(facts, sort_keys=True)


def _group(router: Router, variables: Host) -> Any:
    """The multicast group, where one is said."""
    return router.keywords.get("mcast_dst_ip", _defs(variables).get(f"vrrp_mcast_group{router.family}"))


def _row(router: Router, state: str, record: dict[str, Any] | None) -> dict[str, Any]:
    past = (record or {}).get(router.cluster, {}).get("hosts", {}).get(router.host, {}).get(router.name)
    return {
        "cluster": router.cluster,
        "instance": router.name,
        "host": router.host,
        "interface": str(router.keywords.get("interface", "")),
        "priority": router.priority,
        "origin": router.origin,
        "state": state,
        "before": past,
        "changed": past is not None and past != router.priority,
    }


# --- small things ----------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def is_whole(value: Any) -> bool:
    return not isinstance(value, (bool, float)) and str(value).lstrip("-").isdecimal()


def is_priority(value: Any) -> bool:
    return not isinstance(value, (bool, float)) and str(value).isdecimal() and 1 <= int(value) <= 255


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _bare(addresses: Iterable[str]) -> list[str]:
    return [address.split("/")[0] for address in addresses]


def _networks(addresses: Iterable[str]) -> list[Any]:
    networks = [ipaddress.ip_interface(address).network for address in addresses]
    return [network for network in networks if network.num_addresses > 1]


def _overlap(ours: Iterable[str], theirs: Iterable[str]) -> bool:
    others = _networks(theirs)
    return any(a.version == b.version and a.overlaps(b) for a in _networks(ours) for b in others)


def _is_edge(address: Any) -> bool:
    network = address.network
    if address.version != 4 or network.prefixlen > 30:
        return False
    return bool(address.ip in (network.network_address, network.broadcast_address))


def _host_addresses(variables: Host) -> list[Address]:
    found: list[Address] = []
    for value in [*as_list(variables.get("vrrpd_address") or []), variables.get("ansible_host")]:
        with contextlib.suppress(ValueError):
            found.append(ipaddress.ip_address(str(value)))
    return found
