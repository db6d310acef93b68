"""The ledger of keywords: known (it stands in the table), in a fixture, supported, and seen at work by some test.

A fixture is a file of ok/ or bad/ that says it, whatever is supported. At work means a scenario, a namespace test or a
unit test of the process that obeys it (behaviour.py finds them), or one of the few ways below, each with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from behaviour import Place, at_work, program, scenario
from values import BASES, blocks_on_lines, values, written

from vrrpd.conf.expand import Line, Reader
from vrrpd.conf.schema import Block, Keyword
from vrrpd.conf.source import Problems
from vrrpd.conf.tree import parse
from vrrpd.model.blocks import BLOCKS, TOP
from vrrpd.model.load import load

HERE = Path(__file__).parent

# What it sets is another field, and that is tested at work; that it sets it the model's own files show (ok/).
THROUGH: dict[Place, Place] = {
    ("global_defs", "vrrp_garp_interval"): ("vrrp_instance", "garp_interval"),
    ("global_defs", "vrrp_gna_interval"): ("vrrp_instance", "gna_interval"),
    ("global_defs", "vrrp_mcast_group4"): ("vrrp_instance", "mcast_group"),
    ("global_defs", "vrrp_mcast_group6"): ("vrrp_instance", "mcast_group"),
    ("global_defs", "vrrp_min_garp"): ("vrrp_instance", "garp_master_repeat"),
    ("global_defs", "vrrp_garp_extra_if"): ("vrrp_instance", "garp_extra_if"),
    ("garp_group", "interface"): ("garp_group", "interfaces"),
    ("vrrp_track_process", "delay"): ("vrrp_track_process", "terminate_delay"),
}
# Accepted, and nothing differs: the note in the table says what is so in any case, or what does it instead.
NO_BEHAVIOUR: dict[Place, str] = {
    (TOP, "use_pid_dir"): "pid files are in a folder of their own in any case",
    (TOP, "namespace_with_ipsets"): "for kernels before 3.13, whose ipsets knew no namespaces",
    ("global_defs", "use_symlink_paths"): "paths are executed as they are written in any case",
    ("global_defs", "tmp_config_directory"): "the text is read once, by one process, and kept nowhere",
    ("global_defs", "dynamic_interfaces"): "interfaces come and go in any case (fsm/i07_*)",
    ("global_defs", "include_check"): "about reading alone: ok/includes.conf is read otherwise without it",
    ("global_defs", "random_seed"): "about reading alone: ok/random.conf gives other numbers without it",
    ("global_defs", "vrrp_higher_prio_send_advert"): "the last advert is sent in any case (fsm/f13_*)",
    ("vrrp_instance", "higher_prio_send_advert"): "the same",
    ("global_defs", "nftables_ifindex"): "link-local addresses are told apart by index in any case",
    ("global_defs", "vrrp_iptables"): "no_accept is done by nftables in any case, and a warning says so",
    ("global_defs", "vrrp_ipsets"): "the same",
    ("global_defs", "vrrp_netlink_cmd_rcv_bufs_force"): "beyond the system's limit in any case",
    ("global_defs", "vrrp_netlink_monitor_rcv_bufs_force"): "the same",
    ("global_defs", "process_monitor_rcv_bufs_force"): "the same",
    (
        "vrrp_script",
        "init_fail",
    ): "the first result counts in any case, as in keepalived (fsm/track_script_is_*)",
}


class Entry(NamedTuple):
    """One keyword. `tests`: files that use it at work."""

    block: Block
    row: Keyword
    fixture: bool
    tests: set[str]

    @property
    def place(self) -> Place:
        return self.block.name, self.row.field

    @property
    def answered(self) -> str:
        if self.tests:
            return "tested"
        return "no behaviour" if self.place in NO_BEHAVIOUR else "MISSING"


def used(path: Path) -> Iterator[Place]:
    """(block, keyword) of a file's statements, whatever their values are worth."""
    problems = Problems(True)
    lines: list[Line] = list(Reader("node1", problems).read_file(str(path)))
    waiting = [(TOP, statement) for statement in parse(lines, problems)]
    while waiting:
        block, statement = waiting.pop()
        row = BLOCKS[block].keywords.get(statement.words[0]) if statement.words else None
        if row is None:
            continue
        yield block, row.name
        if row.type.form == "block":
            waiting += [(row.type.block, inner) for inner in statement.block or ()]


@pytest.fixture(scope="module")
def ledger() -> list[Entry]:
    in_fixtures: set[Place] = set()
    with pytest.MonkeyPatch.context() as patch:
        for path in sorted(HERE.glob("*/*.conf")):
            patch.chdir(path.parent)
            in_fixtures.update(used(path))
            if "include_check" in path.read_bytes().decode(errors="replace"):
                in_fixtures.add(("global_defs", "include_check"))  # obeyed while the file is read, and gone then
    working = at_work()

    def tests(place: Place) -> set[str]:
        found = working.get(place, set()) | working.get(THROUGH.get(place, place), set())
        if place[0] == "global_defs":  # what an instance inherits
            for row in BLOCKS["vrrp_instance"].keywords.values():
                if row.inherits == place[1]:
                    found = found | working.get(("vrrp_instance", row.field), set())
        return found

    entries = []
    for block in BLOCKS.values():
        for row in block.keywords.values():
            fixture = (block.name, row.name) in in_fixtures
            entries.append(Entry(block, row, fixture, tests((block.name, row.field)) if row.supported else set()))
    return entries


def test_every_keyword_is_in_a_fixture(ledger: list[Entry]) -> None:
    assert [(entry.block.name, entry.row.name) for entry in ledger if not entry.fixture] == []


def test_every_supported_keyword_is_seen_at_work(ledger: list[Entry]) -> None:
    """Of a block it is what stands in it."""
    unseen = {entry.place for entry in ledger if entry.row.supported and entry.row.type.form != "block"}
    unseen -= {entry.place for entry in ledger if entry.tests}
    assert sorted(unseen - NO_BEHAVIOUR.keys()) == [], "write a scenario, or say in NO_BEHAVIOUR why there can be none"


def test_the_ledger_says_nothing_needless(ledger: list[Entry]) -> None:
    places = {entry.place for entry in ledger}
    assert sorted({*NO_BEHAVIOUR, *THROUGH} - places) == []
    noted = {entry.place for entry in ledger if entry.row.doc.startswith("accepted")}
    silent = {place for place in NO_BEHAVIOUR if place[1] not in ("include_check", "random_seed")}
    assert sorted(silent - noted) == [], "the table does not say that it is accepted, and why that is enough"
    # Some do nothing and are tested all the same: that it is so in any case.
    assert sorted(noted - silent) == [("global_defs", "vrrp_no_swap")]


def test_the_table(ledger: list[Entry], capsys: pytest.CaptureFixture[str]) -> None:
    heads = ("known", "fixture", "supported", "tested", "nothing")
    with capsys.disabled():
        print(f"\n{'keywords of':<20}" + "".join(f"{head:>10}" for head in heads))
        for block in [*BLOCKS.values(), None]:
            mine = [entry for entry in ledger if block in (entry.block, None)]
            if not any(entry.row.supported for entry in mine):
                continue  # virtual servers and checks
            ours = [entry for entry in mine if entry.row.supported]
            tested = [entry for entry in ours if entry.tests]
            silent = [entry for entry in ours if entry.answered == "no behaviour"]
            counts = (len(mine), sum(entry.fixture for entry in mine), len(ours), len(tested), len(silent))
            name = "all, also checks" if block is None else block.name or "top level"
            print(f"{name:<20}" + "".join(f"{count:>10}" for count in counts))
        print("nothing: accepted, and so in any case; unsupported blocks have fixtures only")


def test_what_is_at_work() -> None:
    """The finder itself: words of answers, of documentation and of other blocks are no tests."""
    source = '''
def test_it(lab):
    """priority 200"""
    text = config(instance(("10.0.0.1/24",), "nopreempt", f"preempt_delay {1}"), globals=("vrrp_version 3",))
    text += "vrrp_script x {\\nweight 5\\n}\\nvrrp_track_process p {\\nprocess a\\n}"
    assert status["priority"] == TrackFile("f", weight=2)
    return replace(defs, json_dump_file="/x")
'''
    assert set(program(ast.parse(source))) == {
        ("vrrp_instance", "preempt"),
        ("vrrp_instance", "preempt_delay"),
        ("global_defs", "vrrp_version"),
        (TOP, "vrrp_script"),
        ("vrrp_script", "weight"),
        (TOP, "vrrp_track_process"),
        ("vrrp_track_process", "process"),
        ("track_file", "weight"),
        ("global_defs", "json_dump_file"),
    }
    assert set(scenario("start A priority=5\nadvert A from=B version=3\n----\nA priority=7\n")) == {
        ("vrrp_instance", "priority")
    }


MEANT_OTHERWISE = {"preempt", "use_ipvlan", "no_accept"}  # set the same field to something else; at work on their own
OLD_NAMES = [
    (block.name, row, other)
    for block in BLOCKS.values()
    for row in block.keywords.values()
    for other in block.keywords.values()
    if row.supported and row.field == other.field and row is not other
    if other.name not in MEANT_OTHERWISE and row.name not in MEANT_OTHERWISE
    if list(block.keywords).index(row.name) < list(block.keywords).index(other.name)
]


@pytest.mark.parametrize(("block", "row", "other"), OLD_NAMES, ids=lambda item: getattr(item, "name", ""))
def test_another_name_means_the_same(block: str, row: Keyword, other: Keyword, tmp_path: Path) -> None:
    models = []
    for each in (row, other):
        if each.type.form == "block":
            text = BASES["track_file"].replace("@", "").replace("track_file x {", f"{each.name} x {{", 1)
            text = blocks_on_lines(text)
        else:
            text = written(BASES[block], each.name, f"{each.name} {values(row)[0]}".strip())
        path = tmp_path / "a.conf"
        path.write_text(text)
        model = load(str(path), node_name="node1").model
        assert model is not None
        models.append(replace(model, sha256=""))
    assert models[0] == models[1]
