# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ties instances together beyond VRRP: sync groups, and what is tracked. Findings that need all hosts to be seen.

A weight is looked at with the eyes of the election: the best host, everything it tracks failed, against the others,
everything they track well. If it stays ahead, or nobody may take over, the check would run for nothing.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ansible.module_utils.vrrpd_lines import GROUP, Findings, blocks_of, entries, hint, is_true
from ansible.module_utils.vrrpd_router import Host, Router, by_instance

TRACKED = {  # keyword of an instance or group -> the blocks that it may name
    "track_script": ("vrrp_script",),
    "track_process": ("vrrp_track_process",),
    "track_file": ("track_file", "vrrp_track_file"),
    "track_bfd": ("bfd_instance",),
}


def groups_of(variables: Host) -> dict[str, list[str]]:
    """vrrp_sync_group -> the instances that it names, with the host's overrides."""
    blocks = blocks_of(variables.get("vrrpd_blocks", {}), variables.get("vrrpd_overrides", {}), ())
    found = blocks.get(GROUP)
    if not isinstance(found, dict):
        return {}
    return {
        name: [word for line in entries(keywords.get("group") or []) for word in str(line).split()]
        for name, keywords in found.items()
        if isinstance(keywords, dict)
    }


def members_here(groups: dict[str, list[str]], here: list[str], cluster: set[str]) -> dict[str, list[str]]:
    """The groups of a host: an instance that only other hosts of the cluster carry (`hosts`) is no member here."""
    elsewhere = cluster - set(here)
    return {name: [member for member in members if member not in elsewhere] for name, members in groups.items()}


def check_groups(routers: list[Router], nodes: dict[str, Host], findings: Findings) -> None:
    """Members exist, each is in one group, and all of a group prefer the same host."""
    best = {key: max(group, key=lambda each: each.priority).host for key, group in by_instance(routers).items()}
    for host in nodes:
        mine = {router.name: router for router in routers if router.host == host}
        cluster = {name for _, name in best if any(router.cluster == _ for router in mine.values())}
        seen: dict[str, str] = {}
        for group, members in members_here(groups_of(nodes[host]), list(mine), cluster).items():
            where = f"{host}: vrrpd_blocks.{GROUP}.{group}.group"
            winners: dict[str, str] = {}
            for member in members:
                if member not in mine:
                    told = f"'{member}' is no instance{hint(member, mine)}; instances: {', '.join(mine) or 'none'}"
                    findings.error(where, told)
                    continue
                if seen.setdefault(member, group) != group:
                    findings.error(where, f"'{member}' is in {seen[member]} too: an instance has one group")
                winners[member] = best[(mine[member].cluster, member)]
            if len(set(winners.values())) > 1:
                told = ", ".join(f"{member} prefers {winner}" for member, winner in winners.items())
                findings.error(where, f"{told}: a group moves as one, give its members the same order of hosts")


class Weight(NamedTuple):
    """What a tracked thing does to a priority: 0 is FAULT, None nobody can foretell (the number in a file)."""

    what: str
    weight: int | None


def _tracked(
    host: str, where: str, keywords: dict[str, Any], blocks: dict[str, Any], findings: Findings
) -> list[Weight]:
    """What the track_... of an instance or a group name; names that nobody has defined are findings."""
    found: list[Weight] = []
    for keyword in ("track_interface", *TRACKED):
        homes = TRACKED.get(keyword, ())
        defined: dict[str, Any] = {}
        for home in homes:
            defined.update(blocks[home] if isinstance(blocks.get(home), dict) else {})
        for line in entries(keywords.get(keyword) or []):
            name, *words = str(line).split() or [""]
            if homes and name not in defined:
                told = f"no {homes[0]} '{name}' in vrrpd_blocks{hint(name, defined)}"
                findings.error(f"{host}: {where}.{keyword}", f"{told}; there is {', '.join(defined) or 'none'}")
                continue
            own = defined.get(name)
            said = words[1] if words[:1] == ["weight"] and len(words) > 1 else None
            if said is None and isinstance(own, dict) and own.get("weight") is not None:
                said = str(own["weight"]).split()[0]
            number = int(said) if said and re.fullmatch(r"[+-]?[0-9]+", said) else 0
            found.append(Weight(name, None if keyword == "track_file" and said != "0" else number))
    return found


def check_tracking(routers: list[Router], nodes: dict[str, Host], findings: Findings) -> None:
    """What is tracked exists, and its weight can take the addresses from the best host to the next."""
    for group in by_instance(routers).values():
        weights: dict[str, list[Weight]] = {}
        for router in group:
            blocks = blocks_of(
                nodes[router.host].get("vrrpd_blocks", {}),
                nodes[router.host].get("vrrpd_overrides", {}),
                [each.name for each in routers],
            )
            found = _tracked(router.host, f"vrrpd_instances.{router.name}", router.keywords, blocks, findings)
            weights[router.host] = found
            groups = blocks.get(GROUP) if isinstance(blocks.get(GROUP), dict) else {}
            for name, members in groups_of(nodes[router.host]).items():
                if router.name not in members:
                    continue
                keywords = groups[name]
                shared = _tracked(router.host, f"vrrpd_blocks.{GROUP}.{name}", keywords, blocks, findings)
                weights[router.host] = found + shared
                if not is_true(
                    keywords.get("sync_group_tracking_weight")
                ):  # keepalived ignores them: members stay equal
                    told = ", ".join(f"{each.weight:+d} of {each.what}" for each in found + shared if each.weight)
                    if told:
                        findings.error(
                            f"{router.host}: vrrpd_instances.{router.name}",
                            f"weight {told} counts for nothing in sync group {name}: leave it out (a failure is FAULT"
                            f" then), or set sync_group_tracking_weight: true in vrrpd_blocks.{GROUP}.{name}",
                        )
                    weights[router.host] = []
        _check_weights(group, weights, findings)


def _check_weights(group: list[Router], weights: dict[str, list[Weight]], findings: Findings) -> None:
    ranked = sorted(group, key=lambda router: -router.priority)
    if len(ranked) < 2 or ranked[0].priority == ranked[1].priority:
        return
    best, rest = ranked[0], ranked[1:]
    mine = [each for each in weights[best.host] if each.weight]
    if not mine or any(each.weight is None for each in weights[best.host]):
        return
    where = f"{best.host}: vrrpd_instances.{best.name}"
    told = ", ".join(f"{each.weight:+d} of {each.what}" for each in mine)
    fault = "leave the weight out (a failure is FAULT then)"
    if best.priority == 255:
        findings.error(where, f"weight {told} moves nothing: the priority of an owner (255) never changes: {fault}")
        return
    left = _effective(best.priority + sum(min(each.weight or 0, 0) for each in mine))
    others = {
        router.host: _effective(
            router.priority + sum(max(each.weight or 0, 0) for each in weights[router.host] if router.priority < 255)
        )
        for router in rest
        if not any(each.weight is None for each in weights[router.host])
    }
    if len(others) < len(rest):
        return
    second = max(others, key=lambda host: others[host])
    if left >= others[second]:
        findings.error(
            where,
            f"weight {told} can never move {best.name} from {best.host} to {second}: with everything failed"
            f" {best.host} has priority {left}, and {second} has {others[second]}: make it greater than the distance of"
            f" {best.priority - ranked[1].priority}, or {fault}",
        )
        return
    waiting = [router.host for router in rest if is_true(router.keywords.get("nopreempt"))]
    if len(waiting) == len(rest):
        findings.error(
            where,
            f"weight {told} moves nothing: nopreempt on {', '.join(waiting)}, nobody takes over from a lower priority:"
            f" {fault}",
        )


def _effective(priority: int) -> int:
    return min(max(priority, 1), 254)
