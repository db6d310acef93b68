"""The files that signals write: the same sections, lines and names as keepalived's own, of the same rich file.

dump_rich.conf runs in keepalived 2.2.7 and in vrrpd, each in a laboratory of its own, with instances that are MASTER,
BACKUP and FAULT. The tables below say where the files differ, and why; any other difference fails, and so does an entry
that no longer applies. Then the files are read as exporters read them.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab import ROOT, Daemon, Keepalived, Lab, Ours, config, instance, ip_packet, vrrp3

HERE = Path(__file__).parent
SIGNALS = {
    "keepalived.data": signal.SIGUSR1,
    "keepalived.stats": signal.SIGUSR2,
    "keepalived.json": signal.SIGRTMIN + 2,
}
FILES = (*SIGNALS, "keepalived_parent.data")

# Lines that keepalived alone writes: the beginning of the line, and why.
ONLY_KEEPALIVED = {
    " LVS ": "LVS is not here",
    " Network namespace ipvs": "LVS is not here",
    " Default smtp_alert_checker": "LVS is not here",
    " Checker": "LVS is not here",
    " lvs_": "LVS is not here",
    " rs_init_notifies": "LVS is not here",
    " no_checker_emails": "LVS is not here",
    " BFD ": "BFD is not here",
    " SNMP ": "SNMP is not here",
    " DBus": "D-Bus is not here",
    " libnftnl version": "nftables is spoken without that library",
    " process_monitor_rcv_bufs": "the buffer of that socket is fixed",
    "   Reset ARP config counter": "its own book-keeping: who of its instances has changed a sysctl",
    "   Reset promote_secondaries counter": "likewise",
    "   Not IPv6 forwarding": "its own book-keeping: when it has looked",
}
# Lines that we alone write.
ONLY_OURS = {
    "   rp_filter": "keepalived knows it of the interfaces alone that it has changed",
}
# Lines whose value differs, as a pattern for the part that is compared nevertheless.
VALUES = {
    r" Default smtp_alert_vrrp =": "what smtp_alert gives it is written here",
    r" Gratuitous ARP lower priority (delay|repeat) =": "keepalived's parent does not resolve it",
    r" VRRP don't swap =": "always true here",
    r" VRRP realtime priority =": "what is in force: 1 by default",
    r" VRRP realtime limit =": "none is needed: a process that does not come back is noticed",
    r" GARP next time": "a time, or none yet",
    r" GNA next time": "likewise",
    r"   Flags:": "keepalived has flags without a name",
    r"   Last transition =": "a time",
    r"   Read timeout =": "a time",
    r"   Password =": "masked",
    r"   fd_in": "descriptors",
    r"   Master router =": "keepalived shows the group where no master was heard",
    r"   Timeout =": "what is in force where none is said: the interval",
    r"   Result =": "successes are counted to rise + fall - 1, and it starts in between",
    r"   Number of (interface and track script faults|track scripts init) =": "that of its group is one too",
    r"   Num member fault": "likewise",
    r"   (Up|Down) debounce timer =": "keepalived makes a value shorter when it reads it",
    r"   MAC =": "that of a veth is drawn",
    r"   Original arp_(ignore|filter)": "the present value: keepalived has changed another one",
    r"   State = (not )?UP": "an interface",
    r"   State =(?= (idle|running))": "a check may be running",
}
# Within lines: what is cut out of both.
CUT = {
    r" no_track$": "keepalived watches no route without an interface, we do",
    r" scope 0\b": "keepalived knows whether it was said",
    r" weight 1\b(?= nexthop)": "likewise",
    r" proto(col)? 18\b": "keepalived gives an untracked one none, or does not say so",
    r" \[installed ifindex \d+\]": "its own book-keeping",
    r", uid:gid \d+:\d+$": "compared in test_whose_the_scripts_are",
}
# JSON: (keepalived's, ours) by key.
JSON_OURS = {"track_process": "keepalived has it from 2.2.8 on"}
JSON_VALUES = {"last_transition", "auth_data", "advert_sent", "advert_rcvd"}


class Written(NamedTuple):
    """By daemon and file."""

    files: Mapping[str, Mapping[str, str]]

    def both(self, file: str) -> tuple[str, str]:
        return self.files["keepalived"][file], self.files["ours"][file]


def prepared(lab: Lab) -> str:
    """The configuration for this laboratory."""
    host = lab["a"]
    host.ip(
        *("link add eth1 type veth peer name far", "link set far up", "link set eth1 up"),
        *("addr add 10.1.0.2/24 dev eth1", "link add eth2 type veth peer name far2", "addr add 10.2.0.2/24 dev eth2"),
    )
    (host.folder / "ok").touch()
    (host.folder / "dumps").mkdir()
    return (HERE / "dump_rich.conf").read_text().replace("FOLDER", str(host.folder))


def settled(lab: Lab) -> bool:
    """Who is to be MASTER is so; meanwhile a better master of VB speaks."""
    lab.inject(ip_packet("10.0.0.9", vrrp3(62, 200, ("10.0.0.120",), "10.0.0.9", interval_cs=100)))
    held = lab.held.by_host["a"]
    return {"10.0.0.100", "fd00::1:1", "10.0.0.130", "10.1.0.120", "10.1.0.130"} <= held.keys()


@pytest.fixture(scope="module")
def written() -> Iterator[Written]:
    kinds: tuple[type[Daemon], ...] = (Keepalived, Ours)
    found: dict[str, dict[str, str]] = {}
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        labs = {kind.name: stack.enter_context(Lab("a")) for kind in kinds}
        for kind in kinds:
            lab = labs[kind.name]
            text = prepared(lab)
            patch.setenv("TMPDIR", str(lab["a"].folder / "dumps"))
            lab["a"].run(kind, text)
        for lab in labs.values():
            lab.wait(lambda lab=lab: settled(lab), 20, "every instance has found its state")
        for name, lab in labs.items():
            dumps = lab["a"].folder / "dumps"
            for number in SIGNALS.values():
                os.kill(lab["a"].daemon.pid, number)
            lab.wait(lambda dumps=dumps: all((dumps / file).exists() for file in FILES), 5, "four files")
            lab.wait(lambda dumps=dumps: all((dumps / file).stat().st_size for file in FILES), 5, "and not empty")
            folder = re.compile(str(lab["a"].folder).replace("/", r"\\?/"))  # keepalived escapes / in JSON
            found[name] = {file: folder.sub("F", (dumps / file).read_text()) for file in FILES}
        yield Written(found)


def sections(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        title = re.fullmatch(r"------< (.*) >------", line)
        if title and not title[1].startswith("GARP delay group"):
            name = title[1]
        else:
            found.setdefault(name, []).append(line)
    return found


def differing(line: str) -> str:
    return next((pattern for pattern in VALUES if re.match(pattern, line)), "")


def comparable(lines: Sequence[str], without: Mapping[str, str]) -> list[str]:
    kept = []
    for line in lines:
        if not line.startswith(tuple(without)):
            line = plain(line)
            pattern = differing(line)
            match = re.match(pattern, line)
            kept.append(f"{match[0]}*" if pattern and match else line)
    return kept


# Compared by their labels: below.
APART = {"VRRP Sockpool", "Interfaces"}


@pytest.mark.parametrize("file", ["keepalived.data", "keepalived_parent.data"])
def test_the_text_is_that_of_keepalived_line_by_line(written: Written, file: str) -> None:
    theirs, ours = map(sections, written.both(file))
    assert list(ours) == list(theirs)
    for title in theirs:
        if title in APART:
            continue
        pair = comparable(theirs[title], ONLY_KEEPALIVED), comparable(ours[title], ONLY_OURS)
        assert pair[1] == pair[0], "\n".join(difflib.unified_diff(*pair, "keepalived", "ours", lineterm=""))


def labelled(lines: Sequence[str]) -> list[str]:
    """Without values: what is written of an interface, in its order."""
    return [re.split(r" = | \d|, ", line)[0] for line in lines]


def test_what_is_said_of_interfaces(written: Written) -> None:
    theirs, ours = (sections(text)["Interfaces"] for text in written.both("keepalived.data"))
    pair = labelled(comparable(theirs, {**ONLY_KEEPALIVED, **ONLY_OURS})), labelled(comparable(ours, ONLY_OURS))
    assert pair[1] == pair[0], "\n".join(difflib.unified_diff(*pair, "keepalived", "ours", lineterm=""))
    for line in (" Name = vmac66", "   IPv4 address = 10.0.0.2", "   VMAC type private, underlying interface = eth1"):
        assert any(found.startswith(line) for found in ours), line


def test_every_instance_has_a_socket(written: Written) -> None:
    theirs, ours = (sections(text)["VRRP Sockpool"] for text in written.both("keepalived.data"))
    of_instances = [line for line in theirs if " vrid " in line]
    assert of_instances
    assert sorted({line for line in ours if " vrid " in line}) == sorted(of_instances)
    assert {*labelled(ours)} >= {*labelled(theirs)} - {*of_instances}


def test_every_difference_still_applies(written: Written) -> None:
    theirs, ours = ([line for file in FILES for line in files[file].splitlines()] for files in written.files.values())
    unused = [start for start in ONLY_KEEPALIVED if not any(line.startswith(start) for line in theirs)]
    unused += [start for start in ONLY_KEEPALIVED if any(line.startswith(start) for line in ours)]
    unused += [start for start in ONLY_OURS if not any(line.startswith(start) for line in ours)]
    unused += [pattern for pattern in VALUES if not any(differing(line) == pattern for line in theirs)]
    unused += [key for key in JSON_OURS if f'"{key}"' in written.files["keepalived"]["keepalived.json"]]
    unused += [pattern for pattern in CUT if not any(re.search(pattern, line) for line in theirs + ours)]
    assert unused == []


def test_whose_the_scripts_are(written: Written) -> None:
    theirs, ours = (re.findall(r"(\S.*) = .*uid:gid (\d+:\d+)", text) for text in written.both("keepalived.data"))
    assert ours == theirs != []
    theirs, ours = (re.findall(r"uid:gid = (\d+:\d+)", text) for text in written.both("keepalived.data"))
    assert ours == theirs != []


def test_the_statistics_are_those_of_keepalived(written: Written) -> None:
    theirs, ours = (re.sub(r"(Sent|Received): [1-9]\d*", r"\1: N", text) for text in written.both("keepalived.stats"))
    assert ours == theirs


def plain(line: str) -> str:
    for pattern in CUT:
        line = re.sub(pattern, "", line)
    return line


def comparable_json(name: str, value: Any) -> Any:
    """The value where it must be the same, else its kind."""
    if name in JSON_VALUES:
        return type(value).__name__
    return [plain(each) for each in value] if isinstance(value, list) else value


def test_json_is_that_of_keepalived_key_by_key(written: Written) -> None:
    theirs, ours = (json.loads(text) for text in written.both("keepalived.json"))
    assert [entry["data"]["iname"] for entry in ours] == [entry["data"]["iname"] for entry in theirs]
    for mine, other in zip(ours, theirs):
        for part in ("data", "stats"):
            pair = [
                [(name, comparable_json(name, value)) for name, value in entry[part].items() if name not in JSON_OURS]
                for entry in (mine, other)
            ]
            assert pair[0] == pair[1], mine["data"]["iname"]
    assert any("track_process" in entry["data"] for entry in ours)
    assert {entry["data"]["state"] for entry in ours} == {1, 2, 3}


def test_no_password_is_written(written: Written) -> None:
    assert "secret" not in "".join(written.files["ours"].values())


# ------------------------------------------------------------------------------------------------------- exporters
# What mehdy/keepalived-exporter takes from the files, in its way: by indentation, and `strconv.Atoi` on each number.
STATES = ("INIT", "BACKUP", "MASTER", "FAULT")
COUNTERS = {
    ("Advertisements", "Received"), ("Advertisements", "Sent"), ("", "Became master"), ("", "Released master"),
    ("Packet Errors", "Length"), ("Packet Errors", "TTL"), ("Packet Errors", "Invalid Type"),
    ("Packet Errors", "Advertisement Interval"), ("Packet Errors", "Address List"),
    ("Authentication Errors", "Invalid Type"), ("Authentication Errors", "Type Mismatch"),
    ("Authentication Errors", "Failure"), ("Priority Zero", "Received"), ("Priority Zero", "Sent"),
}  # fmt: skip
JSON_INTEGERS = ("state", "wantstate", "garp_delay", "vrid")


def exported_data(text: str) -> dict[str, dict[str, Any]]:
    """Of each instance state, wanted state, interface, delay, VRID and (address, interface) of its addresses."""
    found: dict[str, dict[str, Any]] = {}
    name = key = ""
    for line in text.splitlines():
        if line.startswith(" VRRP Instance") and "=" in line:
            name = line.split("=")[1].strip()
            found[name] = {"vips": []}
        elif not line.startswith("   "):
            name = ""
        elif name and line.startswith("     "):
            if key.startswith("Virtual IP ("):
                words = line.split()
                found[name]["vips"].append((words[0], words[2]))
        elif name:
            key, equal, value = line.partition("=")
            key = key.strip() if equal else line.split(":")[0].strip()
            value = value.strip()
            if key in ("State", "Wantstate"):
                found[name][key] = STATES.index(value)
            elif key in ("Gratuitous ARP delay", "Virtual Router ID"):
                found[name][key] = int(value)
            elif key == "Interface":
                found[name][key] = value
    return found


def exported_scripts(text: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith(" VRRP Script") and "=" in line:
            name = line.split("=")[1].strip()
            found[name] = {}
        elif not line.startswith("   "):
            name = ""
        elif name and "=" in line and line.split("=")[0].strip() in ("Status", "State"):
            found[name][line.split("=")[0].strip()] = line.split("=")[1].strip()
    return found


def exported_stats(text: str) -> dict[str, dict[tuple[str, str], int]]:
    found: dict[str, dict[tuple[str, str], int]] = {}
    name = section = ""
    for line in text.splitlines():
        key, _, value = line.strip().partition(":")
        if line.startswith("VRRP Instance"):
            name, section = value.strip(), ""
            found[name] = {}
        elif line.endswith(":"):
            section = key
        else:
            section = section if line.startswith("    ") else ""
            found[name][section, key] = int(value)
    return found


def test_an_exporter_reads_the_text(written: Written) -> None:
    theirs, ours = (exported_data(text) for text in written.both("keepalived.data"))
    assert ours == theirs
    assert {entry["State"] for entry in ours.values()} == {1, 2, 3}
    theirs_scripts, ours_scripts = (exported_scripts(text) for text in written.both("keepalived.data"))
    assert {name: each["Status"] for name, each in ours_scripts.items()} == {"check": "GOOD", "bad": "BAD"}
    assert ours_scripts.keys() == theirs_scripts.keys()
    states = {each["State"] for each in ours_scripts.values()}
    assert states <= {"idle", "running", "requested termination", "forcing termination"}
    for stats in map(exported_stats, written.both("keepalived.stats")):
        assert stats.keys() == ours.keys()
        assert all(entry.keys() == COUNTERS for entry in stats.values())


def test_an_exporter_reads_the_json(written: Written) -> None:
    for entry in json.loads(written.files["ours"]["keepalived.json"]):
        data = entry["data"]
        assert all(type(data[name]) is int for name in JSON_INTEGERS)
        assert all(type(value) is int for value in entry["stats"].values())
        assert all(len(line.split()) >= 3 for line in data["vips"])


# -------------------------------------------------------------------------------------------------- what else there is
def test_statistics_are_cleared_when_they_have_been_written(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(lab["a"].folder))
    file = lab["a"].folder / "keepalived.stats"
    daemon = lab["a"].run(Ours, config(instance(interval=1, version=2)))
    assert isinstance(daemon, Ours)
    lab.wait_owner("10.0.0.100", "a", 8)
    out = subprocess.run(
        [sys.executable, "-m", "vrrpd", "--signum", "STATS_CLEAR"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    os.kill(daemon.pid, int(out.stdout))
    lab.wait(file.exists, 5, "the file")
    assert "Became master: 1" in file.read_text()
    counters: dict[str, Any] = daemon.counters()
    assert counters["become_master"] == 0
    assert counters["advert_sent"] <= 1


def test_what_is_awaited_goes_to_the_log(lab: Lab) -> None:
    """SIGRTMAX, keepalived's TDATA; and -d, the configuration."""
    script = 'vrrp_script check {\nscript "/usr/bin/true"\ninterval 60\nuser root\n}'
    text = config(script, instance(("10.0.0.100/24",), "track_script {\ncheck\n}"))
    daemon = lab["a"].run(Ours, text, options=("-d",))
    assert isinstance(daemon, Ours)
    lab.wait_owner("10.0.0.100", "a", 8)
    lab.wait(lambda: "VRRP Instance = VI_1" in daemon.log(), 5, "the configuration is logged")
    os.kill(daemon.pid, signal.SIGRTMAX)
    lab.wait(lambda: "queued: " in daemon.log(), 5, "what is awaited is logged")
    for line in (r"processes: guard \d+, helper \d+, vrrp \d+", r"instance VI_1 MASTER: advert in \d\.\d s",
                 r"script check: idle, next run in \d+ s", "queued: 0 scripts, 0 mails"):  # fmt: skip
        assert re.search(line, daemon.log()), line
    assert daemon.running()
