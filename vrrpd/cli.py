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
from typing import TYPE_CHECKING, Any

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
    "TDATA": signal.SIGRTMAX,
}

EXIT_USAGE, EXIT_CANNOT_RUN = 2, 4


# keepalived's options that mean nothing here: what they ask for is so in any case, or is of parts that are not here.
IGNORED = (
    "-B --no_bfd", "-I --dont-release-ipvs", "--all", "-X --release-vips", "--flush-log-file", "--no-mem-check",
)  # fmt: skip
# Those that are missed by who asks for them, and nothing else is the worse for it: said on stderr.
MISSED = {
    "snmp": ("-x --snmp", "there is no SNMP agent: use vrrpctl status --json"),
    "address_monitoring": ("-a --address-monitoring", "addresses of others are not logged: use ip monitor"),
}
# And those that would not be what they ask for: refused with what to do instead.
REFUSED = {
    "dont_respawn": ("-R --dont-respawn", "a process that dies is always followed by another one"),
    "all_config": ("-e --all-config", "say 'include_check' at the top of the configuration"),
    "genhash": ("-T --genhash", "use keepalived's genhash"),
}
FACILITIES = {"user": 1, "daemon": 3, **{f"local{n}": 16 + n for n in range(8)}, **{str(n): 16 + n for n in range(8)}}
OPTIONAL = {"-t": "--config-test", "-M": "--core-dump-pattern", "": "--perf", " ": "--debug"}


def _umask(word: str) -> int:
    """As C writes numbers."""
    value = int(word, 8) if word[:1] == "0" and word[1:2] not in ("x", "X") else int(word, 0)
    if not 0 <= value <= 0o777:
        raise ValueError(word)
    return value


def _facility(word: str) -> int:
    if word not in FACILITIES:
        raise argparse.ArgumentTypeError(f"'{word}' is none of 0..7, local0..local7, user and daemon")
    return FACILITIES[word]


def attached(word: str) -> str:
    """An option with an optional value has it in its own word, -tFILE, -t=FILE, --config-test=FILE: never the next."""
    if word[:2] in OPTIONAL:
        return f"{OPTIONAL[word[:2]]}={word[2:].lstrip('=')}"
    return f"{word}=" if word in OPTIONAL.values() else word


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
    add("-d", "--dump-conf", action="store_true", help="log the configuration when it runs, as SIGUSR1 writes it")
    optional: dict[str, Any] = {"nargs": "?", "const": ""}  # its value stands in the same word: see `attached`
    add(
        "-t", "--config-test", metavar="FILE", help="check the configuration, exit with 0, 4, 5 or 6; findings to FILE",
        **optional,
    )  # fmt: skip
    add("-p", "--pid", metavar="FILE", help=f"pid file (default: {RUN_DIR}/vrrpd.pid)")
    add("-r", "--vrrp_pid", metavar="FILE", help=f"pid file of the vrrp process (default: {RUN_DIR}/vrrp.pid)")
    add("-c", "--checkers_pid", metavar="FILE", help="accepted: there is no checker process")
    add("-b", "--bfd_pid", metavar="FILE", help=argparse.SUPPRESS)
    add("-P", "--vrrp", action="store_true", help="only VRRP, which is all there is")
    add("-C", "--check", action="store_true", help="only health checkers: refused, there are none")
    add("-V", "--dont-release-vrrp", action="store_true", help="keep the addresses and say nothing when stopping")
    add("-i", "--config-id", metavar="ID", help="what @ID lines are compared with (default: the host's name)")
    add("-s", "--namespace", metavar="NAME", default="", help="run in this network namespace, whatever the file says")
    add("-u", "--umask", metavar="NUMBER", type=_umask, help="for files that the daemon makes (octal: leading 0)")
    add("--ignore-sigint", action="store_true", help="SIGINT does not stop it")
    add("-m", "--core-dump", action="store_true", help="permit core dumps")
    add("-M", "--core-dump-pattern", metavar="PATTERN", help="as -m; the pattern is the machine's matter", **optional)
    add(
        "-S",
        "--log-facility",
        metavar="N",
        type=_facility,
        default=3,
        help="of syslog: 0..7 (local0..7), user or daemon",
    )
    add("-g", "--log-file", metavar="FILE", help="log to FILE too, at once")
    add("-G", "--no-syslog", action="store_true", help="do not log to syslog")
    for words in IGNORED:
        add(*words.split(), action="store_true", help=argparse.SUPPRESS)
    for words, _ in (*REFUSED.values(), *MISSED.values()):
        add(*words.split(), action="store_true", help=argparse.SUPPRESS)
    add("-A", "--snmp-agent-socket", metavar="FILE", help=argparse.SUPPRESS)
    add("--perf", metavar="WHEN", help=argparse.SUPPRESS, **optional)
    add("--debug", metavar="OPTIONS", help=argparse.SUPPRESS, **optional)
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
    options = parser().parse_args([attached(word) for word in words])
    for name, (option, instead) in REFUSED.items():
        if getattr(options, name):
            print(f"vrrpd: {option.split()[0]}: {instead}", file=sys.stderr)
            return EXIT_USAGE
    for name, (option, instead) in MISSED.items():
        if getattr(options, name):
            print(f"vrrpd: {option.split()[0]}: {instead}", file=sys.stderr)
    if options.signum:
        print(int(SIGNALS[options.signum]))
        return 0
    if options.config_test is not None:
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
        dump_conf=options.dump_conf,
        release_addresses=not options.dont_release_vrrp,
        core_dumps=options.core_dump or options.core_dump_pattern is not None,
        release=resume.release_of(resume.own_code()),
        namespace=options.namespace,
        movable=not (options.run_dir or options.pid),
        umask=options.umask,
        ignore_sigint=options.ignore_sigint,
        log_facility=options.log_facility,
        log_file=os.path.abspath(options.log_file) if options.log_file else "",
        syslog=not options.no_syslog,
    )


def _has_net_admin() -> bool:
    from vrrpd import process

    return bool(process.capabilities() >> process.CAP_NET_ADMIN & 1)
