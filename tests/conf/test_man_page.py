"""keepalived.conf(5) and keepalived(8) as Debian ships them, read for what they name: nothing may be unknown to us."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from vrrpd import cli
from vrrpd.model.blocks import BLOCKS, TOP

PAGE = Path("/usr/share/man/man5/keepalived.conf.5.gz")

# Words that stand where a keyword could and are none.
NO_KEYWORDS = {
    *((TOP, heading) for heading in ("GLOBAL", "Global", "Static", "BFD", "VRRPD", "LVS")),  # in the type of keywords
    (TOP, "down_timer_adverts"),  # running text about interface_up_down_delays
}
# The page describes the keywords that all checkers share under a name that stands for each of them.
STANDS_FOR = {"CHECKER_TYPE": "TCP_CHECK"}


def syntax(page: str) -> Iterator[tuple[str, str]]:
    """(block, keyword) wherever the page shows a block's syntax: first words of a line that are bold, or of a kind
    that only keywords are (lower case, with an underscore), in the parts that are not filled.
    """
    page = page.partition(".SH ADVANCED CONFIGURATION")[0]  # examples of the language from there on
    verbatim = False
    open_blocks: list[str] = []
    for line in page.splitlines():
        if line.startswith((".nf", ".fi")):
            verbatim, open_blocks = line.startswith(".nf"), []
        if not verbatim or line.startswith(".") or line.lstrip().startswith("#"):
            continue
        line = re.sub(r"\\f[IR]", "", line).replace("\\-", "-").partition("#")[0].rstrip()
        plain = line.replace("\\fB", "").strip()
        first = re.match(r"\s*(\\fB)?\s*([A-Za-z][\w-]*)", line)
        block = open_blocks[-1] if open_blocks else TOP
        block = STANDS_FOR.get(block, block)
        if first and block in BLOCKS and (first[1] or re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", first[2])):
            yield block, first[2]
        if plain.endswith("{"):
            open_blocks.append(first[2] if first else "")
        elif plain == "}" and open_blocks:
            open_blocks.pop()


def test_the_man_page_names_nothing_that_we_do_not_know() -> None:
    named = set(syntax(gzip.decompress(PAGE.read_bytes()).decode()))
    assert len(named) > 370  # of 2.2.7: or the page was read badly
    assert {"vrrp_script", "static_rules"} <= {word for block, word in named if block == TOP}
    unknown = {(block, word) for block, word in named if word not in BLOCKS[block].keywords}
    assert sorted(unknown - NO_KEYWORDS) == []


def test_every_option_of_the_manual_is_known() -> None:
    page = gzip.decompress(Path("/usr/share/man/man8/keepalived.8.gz").read_bytes()).decode()
    heads = [line for line in page.splitlines() if line.startswith("\\fB -")]
    named = {option for line in heads for option in re.findall(r"--[A-Za-z][A-Za-z_-]*", line)}
    assert len(named) > 35
    ours = {option for action in cli.parser()._actions for option in action.option_strings}
    assert named - ours == {"--help"} - ours
