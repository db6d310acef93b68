"""`vrrpd -t`: read a configuration, say everything that is wrong with it, exit.

Unprivileged and read-only: interfaces and addresses come from a netlink dump that any user may ask for. Exit status
0 valid (warnings allowed), 5 errors, 6 a script that others may write, 4 cannot run at all: no file, or nothing
that --lenient could skip.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from typing import Any

from vrrpd.model.load import Loaded, load
from vrrpd.model.vrrp import AF_INET, VirtualAddress, VrrpInstance
from vrrpd.net.links import Interface, Links

VALID, CANNOT_RUN, ERRORS, INSECURE = 0, 4, 5, 6


def exit_status(loaded: Loaded) -> int:
    severities = {diagnostic.severity for diagnostic in loaded.diagnostics}
    if loaded.fatal:
        return CANNOT_RUN
    if "security" in severities:
        return INSECURE
    return ERRORS if "error" in severities else VALID


def main(args: argparse.Namespace) -> int:
    """Check `args.file`; `args.config_id`, `args.lenient` and `args.json` as on the command line."""
    path = args.file
    links = present()
    loaded = load(
        path,
        config_id=args.config_id,
        lenient=args.lenient,
        interfaces=None if links is None else {link.name: [a[:2] for a in link.addresses] for link in links},
        mtus={link.name: link.mtu for link in links or ()},
    )
    if loaded.model is not None and loaded.model.global_defs.net_namespace:  # these are not its interfaces
        loaded = load(path, config_id=args.config_id, lenient=args.lenient)
    status = exit_status(loaded)
    if args.json:
        print(json.dumps(report(loaded, status), indent=1))
        return status
    text = "".join(diagnostic.render() for diagnostic in loaded.diagnostics)
    if args.config_test:  # -t=FILE
        try:
            with open(args.config_test, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
        except OSError as error:
            sys.stderr.write(f"vrrpd: {args.config_test}: {error.strerror}\n{text}")
    else:
        sys.stderr.write(text)
    print(f"{path}: {summary(loaded)}")
    return status


def summary(loaded: Loaded) -> str:
    counts = {"error": 0, "security": 0, "warning": 0}
    for diagnostic in loaded.diagnostics:
        counts[diagnostic.severity] += 1
    words = {"error": "error", "security": "insecure script", "warning": "warning"}
    parts = [f"{count} {words[kind]}{'s' if count > 1 else ''}" for kind, count in counts.items() if count]
    if loaded.model:
        number = len(loaded.model.vrrp_instances)
        parts.insert(0, f"{number} instance{'' if number == 1 else 's'}")
    return f"{'valid' if loaded.model else 'refused'}, {', '.join(parts)}"


def report(loaded: Loaded, status: int) -> dict[str, Any]:
    """The same for machines. Secrets are not in it."""
    found = loaded.model.vrrp_instances if loaded.model else ()
    return {
        "ok": status == VALID,
        "exit": status,
        "sha256": loaded.sha256,
        "diagnostics": [diagnostic.as_dict() for diagnostic in loaded.diagnostics],
        "instances": [_instance(instance) for instance in found],
        "sync_groups": {
            group.name: list(group.group) for group in (loaded.model.vrrp_sync_groups if loaded.model else ())
        },
    }


def _instance(instance: VrrpInstance) -> dict[str, Any]:
    return {
        "name": instance.name,
        "interface": instance.interface,
        "virtual_router_id": instance.virtual_router_id,
        "family": "ipv4" if instance.family == AF_INET else "ipv6",
        "version": instance.version,
        "state": instance.state,
        "priority": instance.priority,
        "preempt": instance.preempt,
        "preempt_delay": instance.preempt_delay,
        "advert_int": instance.advert_int,
        "auth_type": instance.authentication.auth_type if instance.authentication else "",
        "virtual_ipaddress": [_address(item) for item in instance.virtual_ipaddress],
        "virtual_ipaddress_excluded": [_address(item) for item in instance.virtual_ipaddress_excluded],
        "unicast": bool(instance.unicast_peer),
        "unicast_src_ip": _text(instance.unicast_src_ip) if instance.unicast_src_ip else "",
        "unicast_peer": [_text(peer) for peer in instance.unicast_peer],
        "mcast_group": "" if instance.unicast_peer else _text(instance.mcast_group),
    }


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _address(item: VirtualAddress) -> str:
    return f"{_text(item.address)}/{item.prefixlen}" + (f" dev {item.dev}" if item.dev else "")


def present() -> list[Interface] | None:
    """This machine's interfaces; None where netlink is out of reach, then they are not judged."""
    links = Links()
    try:
        links.load()
    except OSError:
        return None
    return list(links)
