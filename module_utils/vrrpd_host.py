# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What vrrpd_deploy does to the node around the daemon: rivals, files, sysctls, firewall.

Each function either only looks or only acts, so that check mode is "look, report, do not act". A root other than /
confines everything to files (images, tests): then there is no kernel, service manager or firewall to talk to.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

UFW_BEGIN = "# BEGIN vrrpd (managed by Ansible)"
UFW_END = "# END vrrpd (managed by Ansible)"
NFT_COMMENT = "vrrpd"
NO_ACCEPT_CHAIN = "vrrpd_in"  # the daemon's own (vrrpd/firewall.py), in a table of any name: it drops, nobody opens it

# Daemons that answer for VRRP addresses: command name -> how to stop it.
RIVALS = {
    "keepalived": "systemctl disable --now keepalived",
    "uvrrpd": "stop and disable it",
    "vrrpd": "systemctl disable --now vrrpd, or in FRR 'vrrpd=no' in /etc/frr/daemons and systemctl restart frr",
    "ucarp": "stop and disable it (CARP uses the same protocol number)",
}


class Wanted(NamedTuple):
    """A file as it should be."""

    path: str
    text: str
    mode: int
    group: str = ""


class HostError(Exception):
    """The node refuses; the text says what and the way out."""


def run(command: list[str], text: str | None = None) -> tuple[int, str]:
    """Exit status and output; 127 when there is no such command."""
    try:
        done = subprocess.run(
            command,
            input=None if text is None else text.encode(),
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
    except OSError as error:
        return 127, str(error)
    except subprocess.TimeoutExpired:
        return 124, "no end within 120 s"
    return done.returncode, done.stdout.decode("utf-8", "replace")


def must(command: list[str], text: str | None = None) -> str:
    code, output = run(command, text)
    if code:
        raise HostError(f"{' '.join(command)}: exit status {code}: {output.strip()[-400:]}")
    return output


# --- files -----------------------------------------------------------------------------------------------------------


def below(root: str, path: str) -> str:
    """An absolute path as it is below `root`."""
    return path if root == "/" else os.path.join(root, path.lstrip("/"))


def read(path: str) -> str | None:
    """The text of a file; None when there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(path: str, text: str, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Replace a file in one step; it never exists with wider rights than its own."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chown(temporary, uid, gid)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def mode_of(path: str) -> int | None:
    try:
        return os.stat(path).st_mode & 0o7777
    except OSError:
        return None


def remove(path: str) -> bool:
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def load_json(path: str) -> dict[str, Any]:
    text = read(path)
    if text is None:
        return {}
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


# --- rivals ----------------------------------------------------------------------------------------------------------


def rivals(proc: str = "/proc", ours: str = "/opt/vrrpd") -> list[str]:
    """Other VRRP daemons in our network namespace (one in a container of this host is none of our business)."""
    try:
        here = os.readlink(f"{proc}/self/ns/net")
    except OSError:
        here = ""
    found: dict[str, tuple[int, str]] = {}
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        try:
            with open(f"{proc}/{entry}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
            if name not in RIVALS:
                continue
            with open(f"{proc}/{entry}/cmdline", "rb") as raw:
                arguments = raw.read().decode("utf-8", "replace").split("\0")
            if os.readlink(f"{proc}/{entry}/ns/net") != here:
                continue
            program = os.path.basename(os.readlink(f"{proc}/{entry}/exe"))
        except OSError:
            continue
        # Ours is a Python process that may have given itself the name vrrpd.
        if name == "vrrpd" and (
            program.startswith("python") or any(argument.startswith(ours) for argument in arguments)
        ):
            continue
        pid = int(entry)
        found[name] = min(found.get(name, (pid, "")), (pid, ""))
    return [
        f"{name} (pid {pid}) runs on this node and answers for VRRP addresses itself. Stop it first: {RIVALS[name]}"
        for name, (pid, _) in sorted(found.items())
    ]


def sleeping_rivals(root: str = "/") -> list[str]:
    """Rivals that do not run but would after a boot."""
    folder = os.path.join(root, "etc/systemd/system/multi-user.target.wants")
    return [
        f"{name}.service is enabled and would start beside vrrpd at the next boot: systemctl disable {name}"
        for name in ("keepalived",)
        if os.path.lexists(os.path.join(folder, f"{name}.service"))
    ]


# --- sysctl ----------------------------------------------------------------------------------------------------------


def sysctl_path(name: str) -> str:
    return "/proc/sys/" + name.replace(".", "/")


def live(name: str) -> str | None:
    text = read(sysctl_path(name))
    return None if text is None else text.strip()


def set_live(name: str, value: str) -> None:
    try:
        with open(sysctl_path(name), "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        raise HostError(f"sysctl {name}={value}: {error.strerror}") from error


def sysctl_text(wanted: dict[str, str]) -> str:
    lines = [f"{name} = {value}" for name, value in sorted(wanted.items())]
    return "# Managed by Ansible (vrrpd).\n" + "".join(f"{line}\n" for line in lines)


# --- firewall --------------------------------------------------------------------------------------------------------


class Opening(NamedTuple):
    """What the daemon must hear from its peers, in the words of each firewall."""

    what: str
    firewalld: str  # a rich rule
    iptables: str
    nft: dict[str, str]  # by family of the table
    comment: str  # of a rule of nftables; a word, because the service manager takes quotes away


def _protocol(number: int, name: str, why: str, comment: str) -> Opening:
    nft = {"ip": f"ip protocol {number}", "ip6": f"ip6 nexthdr {number}", "inet": f"meta l4proto {number}"}
    rule = f"rule protocol value={name} accept"
    return Opening(f"IP protocol {number} ({why})", rule, f"-p {number}", nft, comment)


VRRP = _protocol(112, "vrrp", "VRRP", NFT_COMMENT)
AH = _protocol(51, "ah", "VRRP with auth_type AH", f"{NFT_COMMENT}_ah")
SECOND_PATH = Opening(
    "UDP port 11200 (peer_path)",
    "rule port port=11200 protocol=udp accept",
    "-p udp --dport 11200",
    dict.fromkeys(("ip", "ip6", "inet"), "udp dport 11200"),
    f"{NFT_COMMENT}_peer_path",
)
OPENINGS = (VRRP, AH, SECOND_PATH)


def openings(config: str) -> list[Opening]:
    """Those that a configuration needs. Unicast is the same protocol as multicast."""
    found = [VRRP]
    if re.search(r"(?m)^\s*auth_type\s+AH\b", config):
        found.append(AH)
    if re.search(r"(?m)^\s*peer_path\b", config):
        found.append(SECOND_PATH)
    return found


def firewall() -> str:
    """The firewall that decides here: firewalld, ufw, nftables or none."""
    if run(["systemctl", "is-active", "--quiet", "firewalld"])[0] == 0:
        return "firewalld"
    if re.search(r"(?m)^ENABLED=yes", read("/etc/ufw/ufw.conf") or "", re.IGNORECASE):
        return "ufw"
    if input_chains():
        return "nftables"
    return "none"


def input_chains() -> list[tuple[str, str, str]]:
    """(family, table, chain) of each nftables base chain that filters what arrives."""
    code, output = run(["nft", "-j", "list", "chains"])
    try:
        objects = json.loads(output)["nftables"] if code == 0 else []
    except (ValueError, KeyError):
        return []
    chains = [entry["chain"] for entry in objects if "chain" in entry]
    return [
        (chain["family"], chain["table"], chain["name"])
        for chain in chains
        if chain.get("hook") == "input"
        and chain.get("type") == "filter"
        and chain["family"] in ("ip", "ip6", "inet")
        and chain["name"] != NO_ACCEPT_CHAIN
    ]


def nft_changes(wanted: Sequence[Opening]) -> list[list[str]]:
    """The commands after which every input chain has our rules for these and no other rule of ours."""
    commands = []
    for family, table, chain in input_chains():
        _, rules = run(["nft", "-a", "list", "chain", family, table, chain])
        handles = dict(re.findall(r'comment "(\w+)".*# handle (\d+)', rules))
        ours = {each.comment: handles[each.comment] for each in OPENINGS if each.comment in handles}
        commands += [nft_rule(family, table, chain, each) for each in wanted if each.comment not in ours]
        stale = set(ours) - {each.comment for each in wanted}
        commands += [["nft", "delete", "rule", family, table, chain, "handle", ours[each]] for each in sorted(stale)]
    return commands


def nft_rule(family: str, table: str, chain: str, opening: Opening) -> list[str]:
    match = opening.nft[family].split()
    return ["nft", "insert", "rule", family, table, chain, *match, "accept", "comment", f'"{opening.comment}"']


NFT_DROP_IN = "/etc/systemd/system/nftables.service.d/vrrpd.conf"


def nft_drop_in(wanted: Sequence[Opening]) -> str:
    """The user's ruleset file stays the user's: the service puts our rule back after loading it."""
    nft = next((path for path in ("/usr/sbin/nft", "/sbin/nft") if os.path.exists(path)), "/usr/sbin/nft")
    rules = [" ".join([nft, *nft_rule(*chain, each)[1:]]) for chain in input_chains() for each in wanted]
    starts = "".join(f"ExecStartPost=-{rule}\n" for rule in rules)
    reloads = "".join(f"ExecReload=-{rule}\n" for rule in rules)
    return (
        f"# Managed by Ansible (vrrpd): VRRP stays open when the rules are loaded again.\n[Service]\n{starts}{reloads}"
    )


def ufw_text(text: str, chain: str, wanted: Sequence[Opening]) -> str:
    """before.rules with our block for these right before its COMMIT, without it where there are none."""
    lines = text.splitlines()
    if UFW_BEGIN in lines and UFW_END in lines:
        del lines[lines.index(UFW_BEGIN) : lines.index(UFW_END) + 1]
    if wanted:
        try:
            place = len(lines) - 1 - lines[::-1].index("COMMIT")
        except ValueError:
            raise HostError("/etc/ufw/before.rules has no COMMIT line: open protocol 112 yourself") from None
        rules = [f"-A {chain} {each.iptables} -j ACCEPT" for each in wanted]
        lines[place:place] = [UFW_BEGIN, *rules, UFW_END]
    return "\n".join(lines) + "\n"


UFW_FILES = {"/etc/ufw/before.rules": "ufw-before-input", "/etc/ufw/before6.rules": "ufw6-before-input"}


def firewalld_changes(wanted: Sequence[Opening]) -> list[list[str]]:
    """The commands after which it accepts these and, of what we may have opened, nothing else; now and for good."""
    commands = []
    for more in ([], ["--permanent"]):
        for each in OPENINGS:
            there = run(["firewall-cmd", *more, f"--query-rich-rule={each.firewalld}"])[0] == 0
            if there is not (each in wanted):
                verb = "remove" if there else "add"
                commands.append(["firewall-cmd", *more, f"--{verb}-rich-rule={each.firewalld}"])
    return commands


def firewall_open(kind: str, wanted: Sequence[Opening]) -> bool:
    """Are these open already, and of ours nothing else?"""
    if kind == "firewalld":
        return not firewalld_changes(wanted)
    if kind == "ufw":
        texts = {chain: read(path) for path, chain in UFW_FILES.items()}
        return all(text is None or text == ufw_text(text, chain, wanted) for chain, text in texts.items())
    if kind == "nftables":
        return not nft_changes(wanted) and read(NFT_DROP_IN) == nft_drop_in(wanted)
    return True


def open_firewall(kind: str, wanted: Sequence[Opening]) -> None:
    if kind == "firewalld":
        for command in firewalld_changes(wanted):
            must(command)
    elif kind == "ufw":
        _edit_ufw(wanted)
    elif kind == "nftables":
        write(NFT_DROP_IN, nft_drop_in(wanted), 0o644)
        for command in nft_changes(wanted):
            must(command)
        must(["systemctl", "daemon-reload"])


def close_firewall(check: bool) -> bool:
    """Undo open_firewall, whichever firewall it was; true when there was something to undo."""
    found = False
    if run(["firewall-cmd", "--state"])[0] == 0:
        commands = firewalld_changes(())
        found = bool(commands)
        for command in () if check else commands:
            must(command)
    if any(UFW_BEGIN in (read(path) or "") for path in UFW_FILES):
        found = True
        if not check:
            _edit_ufw(())
    if read(NFT_DROP_IN) is not None:
        found = True
        if not check:
            _close_nftables()
    return found


def _edit_ufw(wanted: Sequence[Opening]) -> None:
    for path, chain in UFW_FILES.items():
        text = read(path)
        if text is not None:
            write(path, ufw_text(text, chain, wanted), 0o640)
    must(["ufw", "reload"])


def _close_nftables() -> None:
    for command in nft_changes(()):
        must(command)
    remove(NFT_DROP_IN)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(NFT_DROP_IN))
    must(["systemctl", "daemon-reload"])
