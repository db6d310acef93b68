"""The tests behind ./run-tests: every check of the project, in two lanes side by side, and one line of result for each.

Owns the order, the progress and the verdict; what a section does is its command's own matter. A section counts its
cases where its tool does (pytest's JUnit file, Molecule's steps), else it is one case. Anything that was skipped fails
the run: a test that cannot run here must say so by failing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv/bin"
LOGS = ROOT / ".lab/log"
LABNS = str(ROOT / "lab/labns")
ENGINE = os.environ.get("LAB_ENGINE") or "podman"
# Tests without root and namespaces.
PURE = "not netns and not full"
# What asks Debian's package keepalived: its checker, its samples, its man page.
KEEPALIVED = ("oracle", "samples", "man_page", "corpus", "values")
# Of those, what runs on every Python that nodes may have. The oracles of some, Debian's keepalived and pyroute2, are
# not there. The toolkit's need Ansible, which no such Python here has: what of it runs on nodes is compiled there,
# and is at work on Python 3.9 in Molecule's ssh scenario.
ELSEWHERE = [
    *("tests/netns", "tests/vm", "tests/unit/toolkit", "tests/property/test_routing.py"),
    *(f"tests/conf/test_{name}.py" for name in KEEPALIVED),
]
# Namespace tests that wait for what must come, and bear that it comes late; the others measure when.
PATIENT = [
    f"tests/netns/test_{name}.py"
    for name in (
        *("all_keywords", "belongings", "datagrams", "dump_files", "firewall", "host", "lab", "netlink", "operating"),
        *("options", "pipes", "side_by_side", "tracking", "without_interface"),
    )
]
NODES = ["-m", PURE, *(f"--ignore={path}" for path in ELSEWHERE)]
COMPILE = (
    "import glob; "
    "[compile(open(f).read(), f, 'exec') for d in ('library', 'module_utils') for f in glob.glob(f'{d}/*.py')]"
)
HEARTBEAT = 8.0
SECOND_TRIES = 3  # of one section


@dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


@dataclass(eq=False)
class Section:
    """One line of the report: a command, or several of which each must succeed."""

    name: str
    commands: Sequence[Sequence[str]]
    count: Callable[[Section, str, bool], Count] = lambda section, output, ok: Count(int(ok), int(not ok))
    env: dict[str, str] = field(default_factory=dict)
    # Tests in real time share two busy cores with whatever else runs here: those few that fail get one more try, alone,
    # and are named in the report. A defect fails twice, and many failures are no accident.
    second_try: bool = False
    unsteady: list[str] = field(default_factory=list)
    result: Count | None = None
    began: float = 0.0

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")

    @property
    def log(self) -> Path:
        return LOGS / f"{self.slug}.log"

    @property
    def junit(self) -> Path:
        return LOGS / f"{self.slug}.xml"


def tool(*args: str) -> list[str]:
    return [str(BIN / args[0]), *args[1:]]


def junit_count(section: Section, _output: str, ok: bool) -> Count:
    """What pytest counted; a run that counted nothing, or failed without a failed test, is a failure."""
    try:
        suites = ElementTree.parse(section.junit).getroot().iter("testsuite")
    except (OSError, ElementTree.ParseError):
        return Count(failed=1)
    count = Count()
    for suite in suites:
        total, bad, skipped = (
            int(suite.get("tests", 0)),
            int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
            int(suite.get("skipped", 0)),
        )
        count += Count(total - bad - skipped, bad, skipped)
    if (not ok and not count.failed) or not count.passed:
        count += Count(failed=1)
    return count


def molecule_count(section: Section, output: str, ok: bool) -> Count:
    """Molecule's steps and the tests inside of them.

    Molecule skips a side effect whose playbook it misses and a verify that finds no test, and calls both success. Each
    step of the scenario's sequence must have been executed, and none may speak of skipping.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    scenario = yaml.safe_load(
        (ROOT / "molecule" / section.name.split()[1] / "molecule.yml").read_text(encoding="utf-8")
    )
    steps = len(re.findall(r"\] Executed: Successful", plain))
    tests = sum(map(int, re.findall(r"=+ .*?(\d+) passed", plain)))
    failed = sum(map(int, re.findall(r"=+ .*?(\d+) (?:failed|errors?)\b", plain)))
    skipped = len(scenario["scenario"]["test_sequence"]) - steps
    skipped += sum(map(int, re.findall(r"\bmissing=([1-9]\d*)", plain))) + len(re.findall(r"Skipping, ", plain))
    skipped += sum(map(int, re.findall(r"=+ .*?(\d+) skipped", plain)))
    return Count(steps + tests, failed or int(not ok), skipped)


def junit_failures(section: Section) -> list[str]:
    try:
        cases = list(ElementTree.parse(section.junit).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return []
    return [
        str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]


def said_count(section: Section, output: str, ok: bool) -> Count:
    """What the command says itself, in its last words."""
    last = output.rstrip().rpartition("\n")[2]
    passed, failed, skipped = (
        sum(map(int, re.findall(rf"(\d+) {word}\b", last))) for word in ("passed", "failed", "skipped")
    )
    return Count(passed, failed or int(not ok or not passed), skipped)


def simulation(full: bool) -> Section:
    histories = 100_000 if full else 2_000
    command = tool("python", "tests/simulation/run.py", f"--histories={histories}")
    return Section(f"simulation, {histories} histories", (command,), said_count)


def fuzzing(full: bool) -> Section:
    command = tool("python", "tests/fuzz/run.py", f"--seconds={120 if full else 12}")
    return Section("fuzzing: packets, configurations", (command,), said_count)


def pytest(section: str, python: Sequence[str], *args: str) -> Section:
    made = Section(section, (), junit_count)
    made.commands = (
        [*python, "-m", "pytest", "-q", "-o", f"cache_dir={LOGS / made.slug}.cache", f"--junitxml={made.junit}", *args],
    )
    return made


def python39() -> Section:
    """The pure tests under Python 3.9, inside the lab's oldest image; pytest comes with us, the image has none."""
    site = ROOT / ".lab/python3.9"
    section = Section("daemon tests, Python 3.9 (Debian 11 container)", (), junit_count)
    fetch = tool("pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", f"--target={site}")
    fetch += ["--python-version=3.9", "--implementation=py", "--abi=none", "--platform=any", "--only-binary=:all:"]
    fetch += ["-r", "requirements-py39.txt"]
    # LAB_RUN_OPTS: what labns found out about this machine's limits.
    test = [LABNS, "sh", "-c", f'exec {ENGINE} run $LAB_RUN_OPTS "$@"', "sh"]
    test += ["--rm", "--network=none", "--privileged", "--name=vrrptest-python39"]
    test += [f"--volume={ROOT}:/src:ro", f"--volume={site}:/site:ro", f"--volume={LOGS}:/log", "--workdir=/src"]
    test += ["--env=PYTHONPATH=/site", "--env=PYTHONDONTWRITEBYTECODE=1", "--env=HYPOTHESIS_STORAGE_DIRECTORY=/tmp/h"]
    # A shell as process 1: it is no test's business to reap what other tests' children left behind.
    test += [
        "localhost/vrrplab-bullseye",
        "sh",
        "-c",
        'python3 -c "$0" && python3 -m pytest -q -p no:cacheprovider "$@"; exit $?',
    ]
    test += [COMPILE, *NODES, f"--junitxml=/log/{section.slug}.xml"]
    section.commands = (fetch, test)
    return section


def runs(python: str, version: str) -> bool:
    """Whether that really is this Python: pyenv's shims are there for every version and run none."""
    said = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
    return said.returncode == 0 and f" {version}." in said.stdout


def other_pythons() -> list[Section]:
    """Pythons of this machine that nodes may have and the .venv is not; each with the pytest of 3.9."""
    sections = []
    for version in ("3.13", "3.14"):
        installed = Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")
        candidates = [shutil.which(f"python{version}"), *map(str, installed)]
        found = next((python for python in candidates if python and runs(python, version)), None)
        if found and f"{sys.version_info[0]}.{sys.version_info[1]}" != version:
            section = pytest(f"daemon tests, Python {version}", [found], *NODES)
            section.commands = ([found, "-c", COMPILE], *section.commands)
            section.env = {"PYTHONPATH": str(ROOT / ".lab/python3.9"), "PYTHONDONTWRITEBYTECODE": "1"}
            sections.append(section)
    return sections


def molecule(scenario: str, full: bool) -> Section:
    return Section(
        f"molecule {scenario}",
        ([LABNS, *tool("molecule", "test", "--no-command-borders", "-s", scenario)],),
        molecule_count,
        env={"LAB_FULL": str(int(full))},  # molecule/conftest.py
    )


def virtual_machine() -> Section:
    inside = ["env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", "PYTHONDONTWRITEBYTECODE=1", *tool("python"), "-m", "pytest"]
    command = [
        str(ROOT / "lab/vmrun"),
        "-t",
        "900",
        "--",
        *inside,
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "vm",
        "tests/vm",
    ]
    return Section("virtual machine: VRF, ipvlan, 802.1q", (command,), said_count)


def files(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern) if path.is_file())


def scripts(pattern: str) -> list[str]:
    """The shell scripts among these files."""
    return [path for path in files(pattern) if re.match(rb"#!/bin/(ba)?sh\n", (ROOT / path).read_bytes())]


def lanes(full: bool) -> list[list[Section]]:
    """What runs beside each other: one lane mostly computes, the other mostly waits.

    The namespace tests that measure times come last, when both lanes are done.
    """
    shell = ["demo", "run-tests", ".ci/run", *scripts("lab/*"), *scripts("bench/*")]
    computing = [
        Section("ruff", (tool("ruff", "check"), tool("ruff", "format", "--check"))),
        Section(
            "mypy strict",
            (
                tool("mypy"),
                tool("mypy", "--python-version=3.11", "lab/demo.py", "lab/probe.py", "lab/run_tests.py"),
                tool(
                    "mypy",
                    "--python-version=3.11",
                    "--ignore-missing-imports",
                    "molecule/conftest.py",
                    "molecule/watching.py",
                ),
                tool("mypy", "--python-version=3.11", *files("bench/*.py")),
                tool("mypy", "--python-version=3.11", *files("tests/simulation/*.py")),
                tool("mypy", "--python-version=3.11", "--ignore-missing-imports", *files("tests/fuzz/*.py")),
            ),
            env={"MYPYPATH": "tests/netns:tests:tests/simulation"},  # where bench/ has its laboratory from
        ),
        Section("shellcheck", (["shellcheck", *shell],)),
        Section("generated documentation", ([str(ROOT / "lab/generated"), "--check"],)),
        Section("yamllint", (tool("yamllint", "--strict", "."),)),
        Section("ansible-lint, production profile", (tool("ansible-lint", "--offline", "--strict"),)),
        Section("validate-modules", ([str(ROOT / "lab/validate-modules")],)),
        pytest(
            f"unit tests, Python {sys.version_info[0]}.{sys.version_info[1]}",
            tool("python"),
            "-m",
            "not netns and not vm" if full else PURE,
        ),
        simulation(full),
        fuzzing(full),
        python39(),
        *other_pythons(),
    ]
    if full:
        computing.append(virtual_machine())
    waiting = [molecule(scenario, full) for scenario in ("default", "rich", "ssh", "continuity")]
    chosen = ("-m", "netns" if full else "netns and not full")
    patient = pytest("namespace tests, states", tool("python"), *chosen, *PATIENT)
    timed = pytest("namespace tests, times", tool("python"), *chosen, *(f"--ignore={path}" for path in PATIENT))
    patient.second_try = timed.second_try = True
    computing.append(patient)
    return [computing, waiting, [timed]]


class Runner:
    """Runs lanes of sections; one process group for each command, so that an interrupt ends what was started."""

    def __init__(self) -> None:
        self.running: dict[Section, subprocess.Popen[bytes]] = {}
        self.lock = threading.Lock()
        self.stopping = False
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        seconds = int(time.monotonic() - self.began)
        with self.lock:
            print(f"[{seconds // 60:2}:{seconds % 60:02}] {text}", flush=True)

    def lane(self, sections: Sequence[Section]) -> None:
        for section in sections:
            if not self.stopping:
                self.section(section)

    def section(self, section: Section) -> None:
        self.say(f"== {section.name}")
        section.began = time.monotonic()
        section.junit.unlink(missing_ok=True)
        ok = True
        with open(section.log, "wb") as log:
            for command in section.commands:
                ok = self.command(section, command, log.fileno()) and ok
        output = section.log.read_text(encoding="utf-8", errors="replace")
        section.result = section.count(section, output, ok)
        if section.second_try and 0 < section.result.failed <= SECOND_TRIES and not self.stopping:
            output += self.once_more(section)
        seconds = time.monotonic() - section.began
        good = not section.result.failed and not section.result.skipped
        if not good:
            with self.lock:
                print(f"\n---- {section.name}: the end of {section.log.relative_to(ROOT)}")
                print("\n".join(output.splitlines()[-80:]), flush=True)
                print("----\n")
        self.say(f"   {'ok    ' if good else 'FAILED'} {section.name}: {wording(section.result)} in {seconds:.0f} s")

    def once_more(self, section: Section) -> str:
        """The failed tests of a pytest section again; what passes now has passed, and is named."""
        assert section.result is not None
        failed = junit_failures(section)
        self.say(f"   {section.name}: {len(failed)} failed, once more: {', '.join(failed)}")
        section.junit.replace(section.junit.with_suffix(".first.xml"))  # how long everything took is in it
        before = section.log.stat().st_size
        with open(section.log, "ab") as log:
            ok = all([self.command(section, [*c, "--last-failed"], log.fileno()) for c in section.commands])
        output = section.log.read_bytes()[before:].decode(errors="replace")
        again = section.count(section, output, ok)
        if again.passed + again.failed == len(failed):
            still = set(junit_failures(section))
            section.unsteady = [name for name in failed if name not in still]
            section.result = Count(section.result.passed + again.passed, again.failed, section.result.skipped)
        return output

    def command(self, section: Section, command: Sequence[str], log: int) -> bool:
        env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PY_COLORS": "0", "NO_COLOR": "1", **section.env}
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
        )
        self.running[section] = process
        code = process.wait()
        del self.running[section]
        return code == 0

    def run(self, lane_list: Sequence[Sequence[Section]]) -> None:
        """The first lanes together, the last one after them; says every few seconds what is going on."""
        for group in (lane_list[:-1], lane_list[-1:]):
            threads = [threading.Thread(target=self.lane, args=(lane,), daemon=True) for lane in group]
            for thread in threads:
                thread.start()
            shown = time.monotonic()
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.2)
                if time.monotonic() - shown > HEARTBEAT:
                    shown = time.monotonic()
                    self.say(
                        "   ... " + "; ".join(f"{section.name}: {last_words(section)}" for section in [*self.running])
                    )

    def stop(self) -> None:
        self.stopping = True
        for process in list(self.running.values()):
            os.killpg(process.pid, signal.SIGINT)
        deadline = time.monotonic() + 20
        while self.running and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in list(self.running.values()):
            os.killpg(process.pid, signal.SIGKILL)


def last_words(section: Section) -> str:
    """The newest line of the section's log that says something."""
    try:
        with open(section.log, "rb") as log:
            log.seek(max(0, section.log.stat().st_size - 2000))
            lines = re.sub(r"\x1b\[[0-9;]*m", "", log.read().decode(errors="replace")).splitlines()
    except OSError:
        return ""
    words = [line.strip() for line in lines if re.search(r"\w", line)]
    return words[-1][:70] if words else f"{time.monotonic() - section.began:.0f} s"


def wording(count: Count) -> str:
    return f"{count.passed} passed, {count.failed} failed" + (f", {count.skipped} skipped" if count.skipped else "")


def clean_up(scenarios: Sequence[str]) -> None:
    """Containers of an interrupted run; Molecule removes its own otherwise, also when a step fails."""
    for scenario in scenarios:
        inventory = ROOT / "molecule" / scenario / "inventory"
        command = [LABNS, *tool("ansible-playbook", "-i", str(inventory), "lab/destroy.yml")]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    subprocess.run([LABNS, ENGINE, "rm", "-f", "vrrptest-python39"], capture_output=True, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="run-tests", description="Runs the project's tests.")
    parser.add_argument("--full", action="store_true", help="every test there is, also the long ones")
    parser.add_argument("--only", metavar="WORDS", help="only the sections whose name contains this")
    options = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    chosen = [[s for s in lane if (options.only or "").lower() in s.name.lower()] for lane in lanes(options.full)]
    sections = [section for lane in chosen for section in lane]
    runner = Runner()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        runner.run(chosen)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("\nrun-tests: interrupted, cleaning up", flush=True)
        runner.stop()
        clean_up([section.name.split()[1] for section in sections if section.name.startswith("molecule")])
        return 130

    total = Count()
    print(f"\n{'section':48} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for section in sections:
        result = section.result or Count(failed=1)
        total += result
        print(f"{section.name:48} {result.passed:7} {result.failed:7} {result.skipped:8}")
    for section in sections:
        for name in section.unsteady:
            print(f"passed at the second try only: {section.name}: {name}")
    seconds = time.monotonic() - runner.began
    print(f"\n{seconds / 60:.1f} minutes")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return int(bool(total.failed or total.skipped or not total.passed))


if __name__ == "__main__":
    sys.exit(main())
