"""vrrpctl: what an operator asks a running vrrpd, over its control socket.

In: a command line. Out: a table or JSON, and an exit status for scripts. Every error is a sentence with the way
out. What the commands do is decided by the daemon (helper.py, control.py), how a status looks by shown/; here is
transport, and the answers to everything else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from vrrpd import __version__
from vrrpd.log import escape
from vrrpd.shown import Unknown, find, show_status
from vrrpd.shown.words import Terminal, duration, result

SOCKET = "/run/vrrpd/control.sock"
OK, REFUSED, USAGE, UNREACHABLE, BAD_CONFIG = 0, 1, 2, 3, 5
TIMEOUT = 10.0
RELOAD_TIMEOUT = 90.0  # also of an upgrade: the daemon reads the whole configuration before it answers

CLEAR = "\x1b[H\x1b[J"

EXIT_STATUS = """\
exit status:
  0  done
  1  refused or failed
  2  wrong usage
  3  the daemon cannot be reached
  5  reload, upgrade: the configuration has errors, the daemon goes on with the old one
"""


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


# -------------------------------------------------------------------------- commands
def _status(options: argparse.Namespace) -> int:
    answer = request(options.socket, {"cmd": "status"})
    if options.json:
        print(json.dumps(_only(answer, options.name), indent=2))
        return OK if answer.get("ok") else REFUSED
    _check(answer)
    print(show_status(answer["status"], options.name or "", _terminal()))
    return OK


def _watch(options: argparse.Namespace) -> int:
    """The status again and again; a daemon that is away is waited for."""
    seen = sys.stdout.isatty()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            try:
                answer = request(options.socket, {"cmd": "status"})
                _check(answer)
                if options.json:
                    text = json.dumps(_only(answer, options.name))
                else:
                    text = show_status(answer["status"], options.name or "", _terminal())
            except (Unreachable, Failed, Unknown) as error:
                text = json.dumps({"ok": False, "error": str(error)}) if options.json else f"vrrpctl: {error}"
            head = "" if options.json else f"{CLEAR if seen else ''}{time.strftime('%H:%M:%S')}\n"
            print(f"{head}{text}{'' if seen or options.json else chr(10)}", flush=True)
            time.sleep(options.interval)
    return OK


def _events(options: argparse.Namespace) -> int:
    answer = request(options.socket, {"cmd": "events"})
    _check(answer)
    found = [past for past in answer["events"] if options.name in (None, past.get("instance"), past.get("sync_group"))]
    if options.json:
        print(json.dumps(found, indent=2))
        return OK
    terminal = _terminal()
    for past in found:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(past["at"]))
        who = f"sync group {past['sync_group']}" if "sync_group" in past else past["instance"]
        priority = f", priority {past['priority']}" if "priority" in past else ""
        line = escape(
            f"{when}.{int(past['at'] % 1 * 1000):03d} {who}: {past['old']} -> {past['new']}{priority}: {past['reason']}"
        )
        print("\n".join(terminal.wrapped(line, 0)))
    if not found:
        print("no change of state is remembered; what was before: journalctl -u vrrpd")
    return OK


def _seconds(word: str) -> float:
    value = float(word)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{word} is outside 0.1..3600")
    return value


def _terminal() -> Terminal:
    """A file or a pipe gets whole lines."""
    seen = sys.stdout.isatty()
    return Terminal(seen and "NO_COLOR" not in os.environ, shutil.get_terminal_size().columns if seen else 0)


def _only(answer: dict[str, Any], name: str | None) -> Any:
    """The status object, or one instance or sync group of it; a failure as it is."""
    if not answer.get("ok"):
        return answer
    status = answer["status"]
    if not name:
        return status
    return find(status, name)


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
            escape(result(run)),
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
    watch = command("watch", _watch, "the status again and again, until it is interrupted")
    watch.add_argument("name", metavar="NAME", nargs="?")
    watch.add_argument(
        "-n", "--interval", metavar="SECONDS", type=_seconds, default=1.0, help="between two (default 1)"
    )
    events = command("events", _events, "the latest changes of state with their reasons, oldest first")
    events.add_argument("name", metavar="NAME", nargs="?", help="of a vrrp_instance or a vrrp_sync_group")
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
    except Unknown as error:
        return _fail(options, str(error), REFUSED)
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
