# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who else manages a node's network, and what it must be told: what it did not set is none of its business.

systemd-networkd takes whatever is foreign from an interface that it configures anew (`networkctl reload` after a
change of its .network file, `networkctl reconfigure`): routes and rules unless networkd.conf(5) says otherwise,
addresses, and with them their routes, unless the interface's own .network file says KeepConfiguration=. Either it or
NetworkManager may want to configure a virtual interface of ours. NetworkManager has no such setting for addresses: what
`nmcli connection up` or `nmcli device reapply` removes, the daemon puts back.

In: the text of our configuration, the names of our virtual interfaces, the node's files. Out: files, and what has to
be said. Nothing here writes, and no service is reloaded: networkd would take the node's own addresses off as well.
"""

from __future__ import annotations

import glob
import os
import re
import socket
from collections.abc import Collection, Iterator
from fnmatch import fnmatch
from typing import NamedTuple

from ansible.module_utils.vrrpd_host import below, read

HEAD = "# Managed by Ansible (vrrpd).\n"
NETWORKD_CONF = "/etc/systemd/networkd.conf.d/60-vrrpd.conf"
UNMANAGED = "/etc/systemd/network/00-vrrpd.network"  # the first file that matches an interface counts
KEEP = "/etc/systemd/network/{}.d/60-vrrpd.conf"
NETWORK_MANAGER_CONF = "/etc/NetworkManager/conf.d/60-vrrpd.conf"
NETWORKD = ("/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd")
NETWORK_MANAGER = ("/usr/sbin/NetworkManager",)
LINKS = "/run/systemd/netif/links"  # networkd's state, a file for each interface that it knows
FOLDERS = tuple(f"{base}/systemd/network" for base in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
# The names that the daemon makes up: vrrp.51, vrrp6.51, vrrp2.51.
MADE_UP = ("vrrp.*", "vrrp?.*", "vrrp??.*")


class Told(NamedTuple):
    """`files`: path -> text. `warnings`: what is the operator's to change."""

    files: dict[str, str]
    warnings: list[str]


def for_neighbours(root: str, config: str, devices: Collection[str]) -> Told:
    """What the network managers that are installed below `root` must find."""
    names = [*MADE_UP, *sorted(name for name in devices if not any(fnmatch(name, each) for each in MADE_UP))]
    files: dict[str, str] = {}
    warnings: list[str] = []
    if _installed(root, NETWORKD):
        files[NETWORKD_CONF] = f"{HEAD}[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
        files[UNMANAGED] = f"{HEAD}[Match]\nName={' '.join(names)}\n\n[Link]\nUnmanaged=yes\n"
        for name, path in _networks(root, config, names):
            said = _said(root, path)
            if said is None:
                files[KEEP.format(os.path.basename(path))] = f"{HEAD}[Network]\nKeepConfiguration=static\n"
            elif said.lower() not in ("static", "yes", "true", "on", "1"):
                warnings.append(
                    f"{path} has KeepConfiguration={said}, so systemd-networkd takes our addresses off {name} when it"
                    " configures it anew (vrrpd puts them back): static or yes would spare them"
                )
    if _installed(root, NETWORK_MANAGER):
        ours = ";".join(f"interface-name:{name}" for name in names)
        files[NETWORK_MANAGER_CONF] = f"{HEAD}[keyfile]\nunmanaged-devices+={ours}\n"
    return Told(files, warnings)


def neighbours_files(root: str) -> Iterator[str]:
    """Those of our files that are there."""
    places = (NETWORKD_CONF, UNMANAGED, KEEP.format("*.network"), NETWORK_MANAGER_CONF)
    for place in places:
        for path in sorted(glob.glob(below(root, place))):
            if (read(path) or "").startswith(HEAD):
                yield path if root == "/" else "/" + os.path.relpath(path, root)


def knows_links(root: str) -> bool:
    """Whether networkd said which file is which interface's; if it did not, nothing of ours is out of date."""
    return os.path.isdir(below(root, LINKS))


def _networks(root: str, config: str, ours: Collection[str]) -> Iterator[tuple[str, str]]:
    """(interface, .network file) for each interface that our configuration names and that networkd configures.

    One of ours may be among them for as long as networkd does not know that it has no business there.
    """
    words = set(re.split(r"[\s{}\"]+", config))
    found: set[str] = set()
    for index, name in sorted(socket.if_nameindex()):
        if name not in words or any(fnmatch(name, each) for each in ours):
            continue
        state = read(below(root, f"{LINKS}/{index}"))
        file = re.search(r"(?m)^NETWORK_FILE=(.+)$", state or "")
        if file and file.group(1) != UNMANAGED and file.group(1) not in found:
            found.add(file.group(1))
            yield name, file.group(1)


def _said(root: str, path: str) -> str | None:
    """KeepConfiguration= of a .network file and its drop-ins, ours aside; of several the last counts."""
    name = os.path.basename(path)
    drop_ins: dict[str, str] = {}
    for folder in reversed(FOLDERS):
        for file in glob.glob(below(root, f"{folder}/{name}.d/*.conf")):
            drop_ins[os.path.basename(file)] = file
    texts = [read(below(root, path)) or "", *((read(drop_ins[each]) or "") for each in sorted(drop_ins))]
    said = [
        value
        for text in texts
        if not text.startswith(HEAD)
        for value in re.findall(r"(?m)^[ \t]*KeepConfiguration[ \t]*=[ \t]*(\S*)", text)
    ]
    return said[-1] if said and said[-1] else None


def _installed(root: str, programs: Collection[str]) -> bool:
    return any(os.path.exists(below(root, program)) for program in programs)
