"""vrrpctl: what an operator asks a running vrrpd, over its control socket.

In: a command line. Out: a table or JSON, and an exit status for scripts. Every error is a sentence with the way
out. Text that came from outside (peers, scripts, configuration) is escaped before it meets a terminal. What the
commands do is decided by the daemon (helper.py, control.py); here is transport and presentation only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from vrrpd import __version__
from vrrpd.log import escape

SOCKET = "/run/vrrpd/control.sock"
OK, REFUSED, USAGE, UNREACHABLE, BAD_CONFIG = 0, 1, 2, 3, 5
TIMEOUT = 10.0
RELOAD_TIMEOUT = 90.0  # also of an upgrade: the daemon reads the whole configuration before it answers

EXIT_STATUS = """\
exit status:
  0  done
  1  refused or failed
  2  wrong usage
  3  the daemon cannot be reached
  5  reload, upgrade: the configuration has errors, the daemon goes on with the old one
"""

COLOURS = {"MASTER": "32;1", "BACKUP": "36", "FAULT": "31;1", "INIT": "33"}


class Unreachable(Exception):
    """No conversation with the daemon; the text says why and what to do."""


class Failed(Exception):
    """The daemon said no; `code` is the exit status."""

    def __init__(self, message: str, code: int = REFUSED) -> None:
        super().__init__(message)
        self.code = code


def request(path: str, message: dict[str, Any], timeout: float = TIMEOUT) -> dict[str, Any]:
    """One question, one answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(path)
            with contextlib.suppress(BrokenPipeError):  # refused before it was read; the answer says why
                sock.sendall(json.dumps(message).encode() + b"\n")
            data = _line(sock)
        except socket.timeout:
            raise Unreachable(
                f"vrrpd does not answer at {path} within {timeout:g} s; look at: journalctl -u vrrpd"
            ) from None
        except OSError as error:
            raise Unreachable(_why(path, error)) from None
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Unreachable(f"what listens at {path} is not vrrpd, or it ended before it had answered")
    return answer


def _socket_of(namespace: str, instance: str) -> str:
    """Where a daemon of that namespace and instance listens (guard.Setting.placed)."""
    folder, name = os.path.split(SOCKET)
    return os.path.join("_".join(filter(None, (folder, namespace, instance))), name)


def _others() -> str:
    """Daemons that do run here, for who has asked for another one."""
    import glob

    folder, name = os.path.split(SOCKET)
    found = [os.path.dirname(path) for path in sorted(glob.glob(f"{folder}*/{name}"))]
    return f"; there is {', '.join(map(escape, found))}: see --instance, --namespace, --socket" if found else ""


def _line(sock: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        chunk = sock.recv(65536)
        if not chunk:
            break
        data += chunk
    return bytes(data)


def _why(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        others = _others()
        return f"vrrpd is not running: {path} does not exist{others or '; start it with: systemctl start vrrpd'}"
    if isinstance(error, ConnectionRefusedError):
        return f"vrrpd is not running: nobody listens at {path}; look at: systemctl status vrrpd"
    if isinstance(error, PermissionError):
        user = _user()
        return (
            f"{user} may not use {path}: it is for root and members of group vrrpd; "
            f"use sudo, or: usermod -aG vrrpd {user} (and log in again)"
        )
    return f"{path}: {error.strerror or error}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


# -------------------------------------------------------------------------- presentation
class Terminal:
    """Prints text; colours only where a person looks."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code else text

    def state(self, state: str) -> str:
        return self.paint(state, COLOURS.get(state, ""))


def duration(seconds: float) -> str:
    """Two units are enough: 4 s, 3 min 10 s, 2 h 5 min, 12 d 3 h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def show_status(status: dict[str, Any], name: str, terminal: Terminal) -> str:
    instances = status["instances"]
    if not name:
        parts = (
            _head(status, terminal),
            _table(instances, terminal),
            _groups(status, terminal),
            _notes(status, terminal),
        )
        return "\n".join(filter(None, parts))
    found = next((instance for instance in instances if instance["name"] == name), None)
    group = next((group for group in status.get("sync_groups", ()) if group["name"] == name), None)
    if found is None and group is not None:
        members = [instance for instance in instances if instance["name"] in group["members"]]
        return "\n".join((_table(members, terminal), _groups({"sync_groups": [group]}, terminal)))
    if found is None:
        raise _nobody(status, name)
    runs = [run for run in status.get("scripts", ()) if run["instance"] == name]
    checks = {(check["kind"], check["name"]): check for check in status.get("trackers", ())}
    return _detail(found, runs, checks, terminal)


def _nobody(status: dict[str, Any], name: str) -> Failed:
    known = ", ".join(each["name"] for each in (*status["instances"], *status.get("sync_groups", ()))) or "none"
    what = "instance or sync group" if status.get("sync_groups") else "instance"
    return Failed(f"no {what} is called {escape(name)}; there are: {escape(known)}")


def _head(status: dict[str, Any], terminal: Terminal) -> str:
    config = status.get("config") or {}
    loaded = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(config.get("loaded_at", 0)))
    line = (
        f"vrrpd {status['version']} ({status['release']}), up {duration(status['uptime'])}, "
        f"{config.get('path', '?')} loaded {loaded}"
    )
    if status.get("maintenance"):
        return escape(line) + "\n" + terminal.paint("maintenance is on: this node leaves the address to others", "33;1")
    return escape(line)


def _table(instances: list[dict[str, Any]], terminal: Terminal) -> str:
    from tabulate import tabulate  # not for the commands that print no table

    headers = ("instance", "state", "since", "prio", "interface", "vrid", "addresses", "master", "reason")
    rows = []
    for instance in instances:
        last = instance.get("last_transition") or {}
        rows.append(
            (
                escape(instance["name"]),
                terminal.state(instance["state"]),
                duration(last["ago"]) if last else "-",
                _priority(instance),
                escape(instance["interface"] or "-"),
                str(instance["virtual_router_id"]),
                _addresses(instance["virtual_ipaddress"]),
                _master(instance),
                escape(_reason(instance)),
            )
        )
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True) if rows else "no instance is configured"


def _groups(status: dict[str, Any], terminal: Terminal) -> str:
    """The sync groups, each with what keeps it from being MASTER; nothing without one."""
    groups = status.get("sync_groups")
    if not groups:
        return ""
    from tabulate import tabulate

    rows = [
        (
            escape(group["name"]),
            terminal.state(group["state"] or "-") + (" (leaving)" if group["leaving"] else ""),
            "\n".join(map(escape, group["members"])),
            "\n".join(map(escape, group["reasons"])),
        )
        for group in groups
    ]
    headers = ("sync group", "state", "members", "reason")
    return "\n" + str(tabulate(rows, headers, tablefmt="simple", disable_numparse=True))


def _addresses(addresses: list[str]) -> str:
    shown = [escape(address) for address in addresses[:3]]
    if len(addresses) > 3:
        shown.append(f"and {len(addresses) - 3} more")
    return "\n".join(shown) or "-"


def _priority(instance: dict[str, Any]) -> str:
    effective, base = instance["priority"], instance["base_priority"]
    return str(effective) if effective == base else f"{effective} ({base})"


def _master(instance: dict[str, Any]) -> str:
    if instance["state"] == "MASTER":
        return "this node"
    master = instance.get("master")
    return f"{escape(str(master['address']))} ({master['priority']})" if master else "-"


def _reason(instance: dict[str, Any]) -> str:
    if instance.get("faults") or instance.get("awaited"):
        return "; ".join([*_faults(instance), *instance.get("awaited", ())])
    return str((instance.get("last_transition") or {}).get("reason", ""))


def _faults(instance: dict[str, Any]) -> list[str]:
    """What keeps it in FAULT; of what it tracks also since when."""
    since = {found["fault"]: found["since"] for found in instance.get("trackers", ()) if found.get("since")}
    return [f"{fault} since {_clock(since[fault])}" if fault in since else fault for fault in instance["faults"]]


def _lacking(found: dict[str, Any]) -> str:
    """A route, a rule or an address that the kernel does not take."""
    return f"{found['what']} is missing since {_clock(found['since'])}: {found['why']}"


def _clock(at: float) -> str:
    """The time of day, with the date where that was another one."""
    there, today = time.localtime(at), time.localtime()
    return time.strftime("%H:%M:%S" if there[:3] == today[:3] else "%Y-%m-%d %H:%M:%S", there)


def _tracker(found: dict[str, Any], check: dict[str, Any]) -> str:
    """One thing that an instance tracks: how it is, since when, what that does, and how long the last look took."""
    if found["value"] is None:
        state = "no result yet"
    else:
        state = f"{found['said']} since {_clock(found['since'])}" if found.get("since") else found["said"]
    weight = f"weight {found['weight']}{' reverse' if found['reverse'] else ''}"
    does = "FAULT" if found["fault"] else f"{found['effect']:+d}" if found["weight"] else "in order"
    last = check.get("last") or {}
    took = f"last run {last['result']}, {last['duration']:.3f} s" if last.get("duration") is not None else ""
    return "; ".join(filter(None, (f"{found['name']} {state}", f"{weight}: {does}", took)))


def _notes(status: dict[str, Any], terminal: Terminal) -> str:
    """What else is wrong, one line each; nothing on a good day."""
    lines = [
        f"{run['instance']}: {run['keyword']} failed {duration(time.time() - run['at'])} ago: {_result(run)}"
        for run in status.get("scripts", ())
        if not _succeeded(run)
    ]
    lines += [
        f"{found['kind']} {found['name']} {found['said']}: {instance['name']} has priority {instance['priority']}"
        for instance in status.get("instances", ())
        for found in instance.get("trackers", ())
        if found["effect"] < 0
    ]
    lines += [f"{_lacking(found)}; it is tried again" for found in status.get("missing", ())]
    lines += [
        f"{instance['name']}: {_lacking(found)}; it is tried again"
        for instance in status.get("instances", ())
        for found in instance.get("missing", ())
    ]
    lines += [
        f"second path: {peer['peer']} does not answer" for peer in status.get("peer_path") or () if not peer["up"]
    ]
    lines += [
        f"named pipe {pipe['path']}: {pipe['dropped']} lines were dropped, nobody reads it in time"
        for pipe in status.get("fifos") or ()
        if pipe.get("dropped")
    ]
    if (status.get("nftables") or {}).get("error"):
        lines.append(status["nftables"]["error"])
    if status.get("reload_at"):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status["reload_at"]))
        lines.append(f"a reload is scheduled for {when}")
    mail = status.get("mail") or {}
    if mail.get("queued") and mail.get("last_error"):
        lines.append(f"{mail['queued']} mails wait: {mail['last_error']}")
    for key, what in (
        ("scripts_dropped", "scripts were not run"),
        ("transitions_lost", "state changes were not told to scripts and mail"),
    ):
        if status.get(key):
            lines.append(f"{status[key]} {what}")
    return "\n".join(["", *(terminal.paint(escape(line), "33") for line in lines)]) if lines else ""


def _succeeded(run: dict[str, Any]) -> bool:
    return run.get("exit") == 0 and not run.get("error")


def _result(run: dict[str, Any]) -> str:
    what = f"killed by {run['signal']}" if "signal" in run else f"exit status {run['exit']}" if "exit" in run else ""
    took = f"after {run['duration']:.2f} s" if what else ""
    return " ".join(filter(None, (what, took, f"({run['error']})" if what and run.get("error") else run.get("error"))))


def _vmac(vmac: dict[str, Any]) -> str:
    """The virtual interface, its MAC address, and where adverts leave from; nothing without one."""
    if not vmac:
        return ""
    adverts = "" if vmac.get("adverts") else ", adverts from the interface itself"
    return escape(" ".join(filter(None, (vmac["interface"], vmac.get("mac"))))) + adverts


def _auth_hmac(auth: dict[str, Any]) -> str:
    """Which key is sent with, and which are accepted."""
    if not auth:
        return ""
    sends = "sends none" if auth["mode"] == "receive-only" else f"sends with key {auth['active_key']}"
    return f"{auth['mode']}, {sends}, accepts {', '.join(map(str, auth['keys']))}"


def _detail(
    instance: dict[str, Any],
    runs: list[dict[str, Any]],
    checks: dict[tuple[str, str], dict[str, Any]],
    terminal: Terminal,
) -> str:
    last = instance.get("last_transition")
    master = instance.get("master")
    rows = [
        ("instance", escape(instance["name"])),
        ("state", terminal.state(instance["state"])),
        ("sync group", escape(instance.get("sync_group") or "")),
        ("priority", _priority(instance)),
        ("vrf" if "vrf" in instance else "interface", escape(instance["interface"])),
        ("virtual_router_id", str(instance["virtual_router_id"])),
        ("version", f"{instance['version']} ({instance['family']})"),
        ("advert_int", f"{instance['advert_int']:g} s"),
        ("preempt", "yes" if instance["preempt"] else "no"),
        ("accept", "" if instance.get("accept", True) else "no: packets to the addresses are dropped"),
        ("source", escape(str(instance.get("source") or "-"))),
        ("use_vmac", _vmac(instance.get("vmac") or {})),
        ("virtual_ipaddress", ", ".join(map(escape, instance["virtual_ipaddress"])) or "-"),
        ("virtual_ipaddress_excluded", ", ".join(map(escape, instance.get("virtual_ipaddress_excluded", ())))),
        *((name, "; ".join(map(escape, instance.get(name, ())))) for name in ("virtual_routes", "virtual_rules")),
        ("unicast_peer", ", ".join(map(escape, instance.get("unicast_peer", ())))),
        ("auth_type", instance.get("auth_type") or ""),
        ("auth_hmac", _auth_hmac(instance.get("auth_hmac") or {})),
        ("master", "this node" if instance["state"] == "MASTER" else ""),
    ]
    if master:
        rows[-1] = (
            "master",
            f"{escape(str(master['address']))}, priority {master['priority']}, heard {master['age']:.2f} s ago",
        )
    if last:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last["at"]))
        rows.append(
            (
                "last change",
                f"{last['old']} -> {last['new']}, {duration(last['ago'])} ago ({when}): {escape(last['reason'])}",
            )
        )
    rows += [("fault", terminal.paint(escape(fault), "31")) for fault in _faults(instance)]
    rows += [("missing", terminal.paint(escape(_lacking(found)), "31")) for found in instance.get("missing", ())]
    rows += [("awaited", escape(what)) for what in instance.get("awaited", ())]
    rows += [
        (f"track_{found['kind']}", escape(_tracker(found, checks.get((found["kind"], found["name"]), {}))))
        for found in instance.get("trackers", ())
    ]
    rows += [(run["keyword"], escape(f"{_result(run)}, {duration(time.time() - run['at'])} ago")) for run in runs]
    counters = {name: value for name, value in instance.get("counters", {}).items() if value}
    rows += [(name, str(value)) for name, value in counters.items()]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {value}" for label, value in rows if value)


# -------------------------------------------------------------------------- commands
def _status(options: argparse.Namespace) -> int:
    answer = request(options.socket, {"cmd": "status"})
    if options.json:
        print(json.dumps(_only(answer, options.name), indent=2))
        return OK if answer.get("ok") else REFUSED
    _check(answer)
    print(
        show_status(
            answer["status"], options.name or "", Terminal(sys.stdout.isatty() and "NO_COLOR" not in os.environ)
        )
    )
    return OK


def _only(answer: dict[str, Any], name: str | None) -> Any:
    """The status object, or one instance or sync group of it; a failure as it is."""
    if not answer.get("ok"):
        return answer
    status = answer["status"]
    if not name:
        return status
    found = [instance for instance in status["instances"] if instance["name"] == name]
    found += [group for group in status.get("sync_groups", ()) if group["name"] == name]
    if not found:
        raise _nobody(status, name)
    return found[0]


def _scripts(options: argparse.Namespace) -> int:
    answer = request(options.socket, {"cmd": "scripts"})
    if options.json:
        print(json.dumps(answer.get("scripts", answer), indent=2))
        return OK if answer.get("ok") else REFUSED
    _check(answer)
    from tabulate import tabulate

    rows = [
        (
            escape(run["instance"]),
            run["keyword"],
            escape(" ".join(run["argv"])),
            f"{duration(time.time() - run['at'])} ago",
            escape(_result(run)),
        )
        for run in answer["scripts"]
    ]
    headers = ("instance", "keyword", "command", "when", "result")
    print(tabulate(rows, headers, tablefmt="simple", disable_numparse=True) if rows else "no script has run yet")
    return OK


def _reload(options: argparse.Namespace) -> int:
    return _loaded(options, "reload", request(options.socket, {"cmd": "reload"}, RELOAD_TIMEOUT), "reloaded")


def _upgrade(options: argparse.Namespace) -> int:
    message = {"cmd": "upgrade"}
    if options.release:
        message["release"] = os.path.abspath(options.release)
    answer = request(options.socket, message, RELOAD_TIMEOUT)
    return _loaded(options, "upgrade", answer, f"upgraded to {escape(str(answer.get('to', '?')))}")


def _loaded(options: argparse.Namespace, command: str, answer: dict[str, Any], done: str) -> int:
    """What became of a configuration that was read, and of what goes with it."""
    diagnostics = answer.get("diagnostics", ())
    bad = any(diagnostic["severity"] != "warning" for diagnostic in diagnostics)
    code = OK if answer.get("ok") else BAD_CONFIG if bad else REFUSED
    if options.json:
        print(json.dumps(answer, indent=2))
        return code
    for diagnostic in diagnostics:
        print(show_diagnostic(diagnostic), file=sys.stderr)
    if code == OK:
        changed = ", ".join(map(escape, answer.get("changed", ())))
        if command == "reload":
            done = f"{done}; changed: {changed}" if changed else f"{done}; no instance changed"
        print(done)
    else:
        for line in str(answer.get("output", "")).splitlines():
            print(escape(line), file=sys.stderr)
        print(f"vrrpctl: {command}: {escape(str(answer.get('error', 'refused')))}", file=sys.stderr)
    return code


def show_diagnostic(diagnostic: dict[str, Any]) -> str:
    """As `vrrpd -t` prints it."""
    from vrrpd.conf.source import Diagnostic, printable  # not for the other commands

    known = {name: value for name, value in diagnostic.items() if name in Diagnostic._fields}
    return "\n".join(map(printable, Diagnostic(**known).render().splitlines()))


def _maintenance(options: argparse.Namespace) -> int:
    on = options.switch == "on"
    answer = request(options.socket, {"cmd": "maintenance", "on": on})
    return _simple(
        options,
        answer,
        "maintenance is on, also after a restart; end it with: vrrpctl maintenance off" if on else "maintenance is off",
    )


def _handover(options: argparse.Namespace) -> int:
    answer = request(options.socket, {"cmd": "handover", "instance": options.name})
    members = ", ".join(map(str, answer.get("members", ())))
    what = f"sync group {answer.get('sync_group')} ({members})" if members else options.name
    return _simple(options, answer, f"{escape(what)}: handed over; see: vrrpctl status")


def _simple(options: argparse.Namespace, answer: dict[str, Any], done: str) -> int:
    if options.json:
        print(json.dumps(answer, indent=2))
        return OK if answer.get("ok") else REFUSED
    _check(answer)
    print(done)
    return OK


def _check(answer: dict[str, Any]) -> None:
    if not answer.get("ok"):
        raise Failed(escape(str(answer.get("error", "refused"))))


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    # SUPPRESS: given before the command, a value must survive the command's own defaults
    common.add_argument(
        "--socket", metavar="PATH", default=argparse.SUPPRESS, help=f"control socket (default {SOCKET})"
    )
    common.add_argument(
        "--instance", metavar="NAME", default=argparse.SUPPRESS, help="of several daemons the one with this 'instance'"
    )
    common.add_argument(
        "--namespace", metavar="NAME", default=argparse.SUPPRESS, help="the one in this network namespace"
    )
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="JSON for programs")
    main = argparse.ArgumentParser(
        prog="vrrpctl",
        description="Ask and steer a running vrrpd.",
        epilog=EXIT_STATUS,
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action="version", version=f"vrrpctl {__version__}")
    commands = main.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[common], help=text, description=text)
        added.set_defaults(function=function)
        return added

    status = command(
        "status", _status, "who is MASTER, since when and why; with a NAME all about an instance, or a sync group"
    )
    status.add_argument("name", metavar="NAME", nargs="?")
    command("scripts", _scripts, "the last run of every notify script and how it ended")
    command("reload", _reload, "read the configuration again; a bad one is refused and changes nothing")
    upgrade = command("upgrade", _upgrade, "go on with the code of another release, without an outage; back likewise")
    upgrade.add_argument("--release", metavar="DIR", help="its folder (default: what /opt/vrrpd/current leads to)")
    maintenance = command("maintenance", _maintenance, "leave all addresses to other nodes, also after a restart")
    maintenance.add_argument("switch", choices=("on", "off"))
    handover = command(
        "handover", _handover, "give an instance, or a sync group as a whole, to the next node, without an outage"
    )
    handover.add_argument("name", metavar="NAME", help="of a vrrp_instance or a vrrp_sync_group")
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    defaults = argparse.Namespace(socket="", instance="", namespace="", json=False)
    options = parser().parse_args(arguments, defaults)
    options.socket = options.socket or _socket_of(options.namespace, options.instance)
    try:
        code: int = options.function(options)
        sys.stdout.flush()
        return code
    except Unreachable as error:
        return _fail(options, str(error), UNREACHABLE)
    except Failed as error:
        return _fail(options, str(error), error.code)
    except ModuleNotFoundError as error:  # a release brings all it needs, a checkout does not
        return _fail(options, f"{sys.executable} lacks {error.name}: in a checkout run its .venv/bin/python", REFUSED)
    except BrokenPipeError:  # `vrrpctl status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK
    except KeyboardInterrupt:
        return REFUSED


def _fail(options: argparse.Namespace, message: str, code: int) -> int:
    if options.json:
        print(json.dumps({"ok": False, "error": message}, indent=2))
    else:
        print(f"vrrpctl: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
