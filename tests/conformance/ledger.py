"""Which test answers for which conformance case.

The cases are those of RFC 9568, RFC 3768 and of what other implementations got wrong: P packet validation, F state
machine, T timers, L interval learning, M several routers, A announcements and addresses, I interface and kernel,
X robustness. A case is answered by a test of this folder or a scenario of tests/fsm that begins with its name, by
a test elsewhere named in ELSEWHERE, or it does not apply and NOT_APPLICABLE says why. Nothing else is allowed.
"""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent.parent

CASES = tuple(
    f"{letter}{number:02}"
    for letter, last in (("P", 44), ("F", 33), ("T", 11), ("L", 6), ("M", 12), ("A", 12), ("I", 10), ("X", 6))
    for number in range(1, last + 1)
)

ELSEWHERE = {
    "P07": "netns/test_datagrams.py::test_p07_ethernet_padding_is_cut_off",
    "P08": "netns/test_datagrams.py::test_p08_ip_options_are_stripped",
    "P09": "netns/test_datagrams.py::test_p09_a_lying_ip_header_goes_nowhere",
    "M10": "netns/test_interop.py::test_m10_the_pair_hands_over_in_both_directions",
    "A07": "netns/test_announce.py::test_a07_an_address_left_by_a_crash_is_removed_at_start",
    "A10": "netns/test_announce.py::test_a10_an_ipv6_address_is_usable_at_once",
    "A11": "netns/test_announce.py::test_a11_a_backup_does_not_answer_for_the_address",
    "A12": "netns/test_firewall.py::test_a12_the_address_is_resolved_and_a_gateway_but_answers_nothing",
    "I08": "netns/test_links.py::test_i08_flapping_link",
    "I09": "netns/test_datagrams.py::test_i09_after_an_overrun_the_links_are_read_anew",
    "I10": "netns/test_datagrams.py::test_i10_more_than_20_groups_on_one_interface",
    "X02": "property/test_packet.py::test_any_bytes_are_an_advert_or_a_packet_error",
    "X04": "netns/test_links.py::test_x04_the_guard_resigns_for_a_dead_worker",
    "X06": "unit/test_log.py::test_a_stuck_syslog_daemon_does_not_stop_us",
}

NOT_APPLICABLE = {
    "X05": "a restart is a planned stop: the successor takes over in its skew, the address answers meanwhile",
}


def answered_here() -> dict[str, list[str]]:
    """Case -> node ids, as the names in this folder and in tests/fsm say."""
    found: dict[str, list[str]] = {}
    for path in sorted((TESTS / "conformance").glob("test_*.py")):
        for function in functions(path):
            case = function[5:8].upper()
            if case in CASES:
                found.setdefault(case, []).append(f"conformance/{path.name}::{function}")
    for path in sorted((TESTS / "fsm").glob("*.txt")):
        case = path.stem[:3].upper()
        if case in CASES:
            found.setdefault(case, []).append(f"fsm/test_scenarios.py::test_scenario[{path.stem}]")
    return found


def functions(path: Path) -> list[str]:
    """The tests that a file defines."""
    if not path.exists():
        return []
    tree = ast.parse(path.read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
