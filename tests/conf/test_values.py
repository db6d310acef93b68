"""The same verdict as `keepalived -t` for every value at a bound, beside it, of another kind, missing or too many.

values.py makes the files from the keyword table. What differs stands in DIFFERENCES with its reason, what Debian's
2.2.7 does not know in NEWER. The default run asks one file in STRIDE, --full all of them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from test_oracle import an_interface
from values import cases

from vrrpd.check_config import ERRORS, INSECURE, VALID
from vrrpd.model.blocks import BLOCKS
from vrrpd.model.load import load

STRIDE = 16
OURS, THEIRS = "accepted by us", "accepted by keepalived"
NUMBER = r"[+]?[0-9]*\.[0-9]*"

# Keyword, line, who accepts it, why. A line that says nothing of the keyword's own is for all of them.
DIFFERENCES: Sequence[tuple[str, str, str, str]] = (
    (
        r"(.*garp_(master|lower_prio)_(delay|refresh)|.*smtp_connect_timeout|child_wait_time|vrrp_script\.(interval|timeout))",
        rf"\S+ {NUMBER}",
        OURS,
        "a fraction of a second is a number of seconds here as in every other keyword; 2.2.7 wants whole ones here",
    ),
    (r".*vrrp_garp_extra_if", r"\S+ (all )?0", OURS, "0 is never, the default; later versions take it"),
    (r".*(vmac_garp_intvl|global_tracking)", r".*", OURS, "an old name is one all the same"),
    (
        r".*(user|_script|notify\w*)",
        r".* :?(root:root|:root|no-such-user|no-such-group)",
        OURS,
        "USER:GROUP is newer than 2.2.7; of an account that is missing here a warning says so: the node may have it",
    ),
    (r".*vrrp_script\.script", r"script /no/such", OURS, "the same: a warning"),
    (r".*", r".* noreverse( })?", OURS, "newer than 2.2.7"),
    (r".*", r"\S+ \S+ (more|2)", OURS, "a word too many is a warning, whatever the keyword"),
    (
        r"interface_up_down_delays|.*notification_email|garp_group\.interfaces",
        r"\S+ { }",
        OURS,
        "an empty list is a warning",
    ),
    (r".*vrrp_iptables", r".*", OURS, "Debian's is built without iptables; no_accept is done by nftables there too"),
    (r"child_wait_time", r".* (86401|2147483648)", THEIRS, "no stop lasts longer than a day"),
    (r"interface_up_down_delays", r".*{ eth0( 1 2 3)? }", THEIRS, "a line that would do nothing, or not all"),
    (r".*smtp_helo_name", r"smtp_helo_name", THEIRS, "it takes no name at all for one"),
    (r".*vrrp_rlimit_rt+ime", r'\S+ ([+]?1|1 2|"1"|4294967296|4294967295)', THEIRS, "its manual page: 2 at least"),
    (
        r".*(tmp_config_directory|reload_check_config|reload_time_file|reload_file|\.file)",
        r"\S+ x",
        THEIRS,
        "a path must be absolute: who knows where a daemon is",
    ),
    (r".*(prefix|default_interface)", r".* a-name-that-is-long", THEIRS, "no interface can have such a name"),
    (r".*vrrp_(strict|skip_check_adv_addr)", r"\S+ (Yes|ON|1|x)", THEIRS, "it takes any word for yes"),
    (r".*vrrp_rx_bufs_policy", r".* mtu", THEIRS, "it leaves the word out"),
    (r".*(mcast|unicast)_src_ip", r".* 224.0.0.18", THEIRS, "nothing can be sent from a group"),
    (r".*(script|notify\w*)", r'\S+ ""', THEIRS, "there is nothing to run"),
    (r".*(_script|notify\w*)", r"\S+ /bin/true x y z", THEIRS, "it leaves the last word out"),
    (r".*vrrp_script\.script", r"script /bin/true x", THEIRS, "it leaves the argument out"),
)
# Keywords that need no value.
SOUND_BARE = "|".join(
    re.escape(f"{block.name}.{row.name}".lstrip("."))
    for block in BLOCKS.values()
    for row in block.keywords.values()
    if row.type.form in ("flag", "bool")
)
# The same for what runs in spite of errors: we with --lenient.
WITH_ERRORS: Sequence[tuple[str, str, str, str]] = (
    (
        rf"(?!({SOUND_BARE})$).*",
        r"\S+",
        THEIRS,
        "a value that is missing: it refuses that of most keywords too, and of some it does not",
    ),
    (r"vrrp_instance\.(interface|virtual_router_id)", r".*", THEIRS, "it leaves the instance out and runs without"),
    (
        r".*use_ipvlan",
        r"use_ipvlan (vrrp\.9|bridge|private|vepa|vrrp\.9 bridge)",
        THEIRS,
        "its instance would stay in FAULT for ever",
    ),
    (r"garp_group\.interfaces", r".*", OURS, "it does not start with an interface that a garp_group names twice"),
)
# Not in 2.2.7 (reference/keepalived.md 0): no verdict to compare with.
NEWER = {
    "global_defs": "use_symlink_paths set_supplementary_groups json_version json_dump_file json_dump_file_location "
    "state_dump_file state_dump_file_location stats_dump_file stats_dump_file_location vrrp_delay_after_boot "
    "vrrp_owner_ignore_adverts v3_checksum_as_v2 iproute_usr_dir iproute_etc_dir",
    "vrrp_instance": "no_virtual_ipaddress timer_expired_backup thread_timer_expired owner_ignore_adverts "
    "v3_checksum_as_v2",
}
LEFT_OUT = {f"{block}.{name}" for block, names in NEWER.items() for name in names.split()}
LEFT_OUT.add("global_defs.vrrp_ipsets")  # Debian's is built without iptables


class Verdict(NamedTuple):
    """Whether a file is accepted by keepalived and by us."""

    keyword: str
    line: str
    theirs: bool
    ours: bool
    said: str

    def reason(self, differences: Sequence[tuple[str, str, str, str]]) -> int | None:
        """Which of them it is."""
        who = OURS if self.ours else THEIRS
        for number, (keyword, line, accepted, _) in enumerate(differences):
            if accepted == who and re.fullmatch(keyword, self.keyword) and re.fullmatch(line, self.line):
                return number
        return None


def judged(chosen: Sequence[tuple[str, str, str]], folder: Path) -> list[tuple[Verdict, Verdict]]:
    """Each case: whether there is no error, and whether it would run."""
    interface = an_interface()

    def verdicts(number: int) -> tuple[Verdict, Verdict]:
        keyword, line, text = chosen[number]
        path = folder / f"{number}.conf"
        path.write_text(text.replace("eth0", interface))
        command = ["keepalived", "-t", "-l", "-f", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        found, lenient = load(str(path)), load(str(path), lenient=True)
        said = done.stdout + done.stderr + "".join(diagnostic.render() for diagnostic in found.diagnostics)
        runs = done.returncode in (VALID, ERRORS, INSECURE)
        return (
            Verdict(keyword, line, done.returncode == VALID, found.model is not None, said),
            Verdict(keyword, line, runs, lenient.model is not None, said),
        )

    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(verdicts, range(len(chosen))))


def compare(verdicts: Sequence[Verdict], differences: Sequence[tuple[str, str, str, str]]) -> set[int]:
    """Which reasons were needed."""
    found = [(verdict, verdict.reason(differences)) for verdict in verdicts if verdict.ours is not verdict.theirs]
    news = [verdict for verdict, reason in found if reason is None]
    assert not news, "\n".join(f"{v.line}: {OURS if v.ours else THEIRS}\n{v.said}" for v in news)
    return {reason for _, reason in found if reason is not None}


ALL = [case for case in dict.fromkeys(cases()) if case[0] not in LEFT_OUT]


def test_a_part_of_the_values(tmp_path: Path) -> None:
    sound, running = zip(*judged(ALL[5::STRIDE], tmp_path))
    compare(sound, DIFFERENCES)
    compare(running, WITH_ERRORS)


@pytest.mark.full
def test_all_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what, verdicts, differences in zip(
        ("-t", "with --lenient"), zip(*judged(ALL, tmp_path)), (DIFFERENCES, WITH_ERRORS)
    ):
        used = compare(verdicts, differences)
        with capsys.disabled():
            same = sum(verdict.ours is verdict.theirs for verdict in verdicts)
            keywords = len({verdict.keyword for verdict in verdicts})
            print(f"\n{what}: {len(verdicts)} values of {keywords} keywords, {same} judged alike")
            for _, _, who, why in differences:
                print(f"  {who}: {why}")
        assert sorted(set(range(len(differences))) - used) == [], "these differ no more"


@pytest.mark.full
def test_what_is_newer_is_unknown_to_it(tmp_path: Path) -> None:
    """So that with a later keepalived these are compared too."""
    known = []
    for keyword in sorted(LEFT_OUT):
        text = next(text for name, _, text in cases() if name == keyword)
        path = tmp_path / "a.conf"
        path.write_text(text.replace("eth0", an_interface()))
        command = ["keepalived", "-t", "-l", "-f", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if "nknown keyword" not in done.stdout + done.stderr:
            known.append(keyword)
    assert known == []
