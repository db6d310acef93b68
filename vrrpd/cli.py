"""The command `vrrpd`: keepalived's options with keepalived's meaning (keepalived(8)), and a few of our own.

Everything heavy is imported by the branch that needs it: `--version` must not pay for the daemon, nor the guard
for the reader of configurations.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vrrpd import __version__

if TYPE_CHECKING:
    from vrrpd import guard

CONFIGS = ("/etc/vrrpd/vrrpd.conf", "/etc/keepalived/keepalived.conf")
RUN_DIR = "/run/vrrpd"
SIGNALS = {
    "STOP": signal.SIGTERM,
    "RELOAD": signal.SIGHUP,
    "DATA": signal.SIGUSR1,
    "STATS": signal.SIGUSR2,
    "STATS_CLEAR": signal.SIGRTMAX - 1,
    "JSON": signal.SIGRTMIN + 2,
}

EXIT_USAGE, EXIT_CANNOT_RUN = 2, 4


def parser() -> argparse.ArgumentParser:
    """Long names are keepalived's too; options that would only make it noisier are accepted and do nothing."""
    top = argparse.ArgumentParser(
        prog="vrrpd",
        description="VRRP daemon that reads keepalived.conf",
        epilog="vrrpd keywords [--json] lists every keyword of the configuration; vrrpctl talks to a running daemon.",
        allow_abbrev=False,
    )
    add = top.add_argument
    add("-f", "--use-file", metavar="FILE", help=f"configuration (default: {', else '.join(CONFIGS)})")
    add("-n", "--dont-fork", action="store_true", help="stay in the foreground")
    add("-l", "--log-console", action="store_true", help="log to stderr instead of syslog")
    add("-D", "--log-detail", action="store_true", help="log debugging lines too")
    add("-t", "--config-test", action="store_true", help="check the configuration and exit with 0, 4, 5 or 6")
    add("-p", "--pid", metavar="FILE", help=f"pid file (default: {RUN_DIR}/vrrpd.pid)")
    add("-r", "--vrrp_pid", metavar="FILE", help=f"pid file of the vrrp process (default: {RUN_DIR}/vrrp.pid)")
    add("-c", "--checkers_pid", metavar="FILE", help="accepted: there is no checker process")
    add("-b", "--bfd_pid", metavar="FILE", help=argparse.SUPPRESS)
    add("-P", "--vrrp", action="store_true", help="only VRRP, which is all there is")
    add("-C", "--check", action="store_true", help="only health checkers: refused, there are none")
    add("-V", "--dont-release-vrrp", action="store_true", help="keep the addresses and say nothing when stopping")
    add("-i", "--config-id", metavar="ID", help="what @ID lines are compared with (default: the host's name)")
    add("-m", "--core-dump", action="store_true", help="permit core dumps")
    add("-S", "--log-facility", metavar="N", help=argparse.SUPPRESS)
    add("-g", "--log-file", metavar="FILE", help=argparse.SUPPRESS)
    add("-G", "--no-syslog", action="store_true", help=argparse.SUPPRESS)
    add("-d", "--dump-conf", action="store_true", help=argparse.SUPPRESS)
    add("-B", "--no_bfd", action="store_true", help=argparse.SUPPRESS)
    add("-I", "--dont-release-ipvs", action="store_true", help=argparse.SUPPRESS)
    add("-v", "--version", action="version", version=f"vrrpd {__version__}")
    add("--signum", choices=sorted(SIGNALS), metavar="NAME", help=f"print a signal's number: {', '.join(SIGNALS)}")
    add("--lenient", action="store_true", help="run what keepalived would run by skipping lines")
    add("--json", action="store_true", help="diagnostics as JSON (with -t)")
    add("--run-dir", metavar="DIR", help=f"control socket and will (default: {RUN_DIR}, with -p FILE: FILE.d)")
    add("--state-dir", metavar="DIR", default="/var/lib/vrrpd", help="what survives a reboot (default: %(default)s)")
    add("--resume", metavar="FD", type=int, help=argparse.SUPPRESS)  # these two: resume.py
    add("--preflight", metavar="FDS", help=argparse.SUPPRESS)
    add("--execute-will", action="store_true", help="undo what a killed daemon left behind, and exit (ExecStopPost=)")
    return top


def configuration(options: argparse.Namespace) -> str:
    if options.use_file:
        return str(options.use_file)
    return next((path for path in CONFIGS if os.path.exists(path)), CONFIGS[0])


def run_dir(options: argparse.Namespace) -> str:
    """Two daemons in two namespaces, told apart by their pid files, must not meet in one directory."""
    if options.run_dir:
        return str(options.run_dir)
    return f"{os.path.abspath(options.pid)}.d" if options.pid else RUN_DIR


def pid_files(options: argparse.Namespace) -> tuple[str, str]:
    """The guard's and the vrrp process's."""
    directory = run_dir(options)
    main_file = options.pid or os.path.join(directory, "vrrpd.pid")
    return os.path.abspath(main_file), os.path.abspath(options.vrrp_pid or os.path.join(directory, "vrrp.pid"))


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["keywords"]:
        return _keywords(words[1:])
    options = parser().parse_args(words)
    if options.signum:
        print(int(SIGNALS[options.signum]))
        return 0
    if options.config_test:
        from vrrpd import check_config

        options.file = configuration(options)
        return check_config.main(options)
    if options.resume is not None:
        from vrrpd import resume

        return resume.main(options.resume)
    if options.preflight:
        from vrrpd import resume

        return resume.preflight(_setting(options), [int(fd) for fd in options.preflight.split(",")])
    if options.execute_will:
        from vrrpd import aftermath

        return aftermath.execute(run_dir(options), *pid_files(options))
    return _daemon(options)


def _keywords(words: Sequence[str]) -> int:
    from vrrpd import keywords

    sub = argparse.ArgumentParser(prog="vrrpd keywords", description="every keyword of the configuration")
    sub.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    sub.add_argument("--json", action="store_const", dest="format", const="json", help="--format json, for machines")
    return keywords.main(sub.parse_args(words))


def _daemon(options: argparse.Namespace) -> int:
    if options.check and not options.vrrp:
        print("vrrpd: -C: there are no health checkers to run", file=sys.stderr)
        return EXIT_CANNOT_RUN
    if os.geteuid() and not _has_net_admin():
        print("vrrpd: needs root (vrrpd -t does not)", file=sys.stderr)
        return EXIT_CANNOT_RUN
    from vrrpd import guard

    return guard.main(_setting(options), options.dont_fork)


def _setting(options: argparse.Namespace) -> guard.Setting:
    from vrrpd import guard, resume

    pid_file, vrrp_pid_file = pid_files(options)
    return guard.Setting(
        config=os.path.abspath(configuration(options)),
        run_dir=run_dir(options),
        pid_file=pid_file,
        vrrp_pid_file=vrrp_pid_file,
        state_dir=options.state_dir,
        config_id=options.config_id,
        lenient=options.lenient,
        to_stderr=options.log_console,
        detailed=options.log_detail,
        release_addresses=not options.dont_release_vrrp,
        core_dumps=options.core_dump,
        release=resume.release_of(resume.own_code()),
    )


def _has_net_admin() -> bool:
    from vrrpd import process

    return bool(process.capabilities() >> process.CAP_NET_ADMIN & 1)
