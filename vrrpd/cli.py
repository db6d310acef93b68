"""The command line of `vrrpd`, with keepalived's options."""

from __future__ import annotations

import argparse


def main(argv: list[str] | None = None) -> int:
    """Run `vrrpd`; returns the exit status."""
    parser = argparse.ArgumentParser(prog="vrrpd")
    parser.add_argument("command", nargs="?", choices=("keywords",))
    parser.add_argument("-f", "--use-file", dest="file")
    parser.add_argument("-i", "--config-id")
    parser.add_argument("-t", "--config-test", action="store_true")
    parser.add_argument("--lenient", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.command == "keywords":
        from vrrpd import keywords

        return keywords.main(args)
    from vrrpd import check_config

    return check_config.main(args)
