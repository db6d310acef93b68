"""The runner, with real processes: order, no overlap, parallelism, time limits, accounts, what it logs and keeps."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from blocking_lab import Lab

from vrrpd import scripts
from vrrpd.journal import Journal
from vrrpd.model.globals import GlobalDefs
from vrrpd.notify import Job


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.close()


def shell(text: str, *, instance: str = "VI_1", keyword: str = "notify", user: str = "") -> Job:
    return Job(instance, keyword, ("/bin/sh", "-c", text), user)


def run(lab: Lab, *jobs: Job, timeout: float = 30.0, parallel: int = 8) -> scripts.Runner:
    runner = scripts.Runner(lab.loop, lab.timers, lab.log, timeout=timeout, parallel=parallel)
    for job in jobs:
        runner.submit(job)
    lab.until(lambda: not runner.busy)
    return runner


def test_the_scripts_of_an_instance_run_in_order_and_never_two_at_once(lab: Lab, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    # the earlier, the slower: any overlap would swap lines
    jobs = [shell(f"echo start{n} >>{trace}; sleep 0.{3 - n}; echo end{n} >>{trace}") for n in range(3)]
    run(lab, *jobs)
    assert trace.read_text().split() == ["start0", "end0", "start1", "end1", "start2", "end2"]


def test_instances_do_not_wait_for_each_other(lab: Lab, tmp_path: Path) -> None:
    # each waits for the other's mark: only together can they end
    marks = [tmp_path / "a", tmp_path / "b"]
    meet = "touch {0}; until [ -e {1} ]; do sleep 0.01; done"
    runner = run(
        lab,
        shell(meet.format(*marks), instance="A"),
        shell(meet.format(*reversed(marks)), instance="B"),
        timeout=10,
    )
    assert [result["exit"] for result in runner.results.values()] == [0, 0]


def test_no_more_children_than_allowed(lab: Lab, tmp_path: Path) -> None:
    runner = scripts.Runner(lab.loop, lab.timers, lab.log, parallel=2)
    gate = tmp_path / "gate"
    for name in "ABCD":
        runner.submit(shell(f"touch {tmp_path}/{name}; until [ -e {gate} ]; do sleep 0.01; done", instance=name))
    lab.until(lambda: len(list(tmp_path.iterdir())) == 2)
    assert runner.queued == 2
    gate.touch()
    lab.until(lambda: not runner.busy)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A", "B", "C", "D", "gate"]


def test_submitting_does_not_wait_for_the_script(lab: Lab) -> None:
    runner = scripts.Runner(lab.loop, lab.timers, lab.log)
    started = time.monotonic()
    runner.submit(shell("sleep 20"))
    assert time.monotonic() - started < 5
    runner.kill()
    lab.until(lambda: not runner.busy)


def test_success_is_one_line_with_status_and_duration(lab: Lab) -> None:
    run(lab, shell("echo not shown"))
    (line,) = lab.lines
    assert line.startswith("VI_1: notify /bin/sh: exit status 0 after 0.")


def test_failure_logs_status_and_the_last_lines_of_output(lab: Lab) -> None:
    text = "for n in 1 2 3 4 5 6 7 8; do echo line$n; done; echo oops >&2; exit 3"
    runner = run(lab, shell(text, keyword="notify_master"))
    assert "VI_1: notify_master /bin/sh: exit status 3 after 0." in lab.lines[0]
    assert [line.rpartition("| ")[2] for line in lab.lines[1:]] == ["line5", "line6", "line7", "line8", "oops"]
    (result,) = runner.results.values()
    assert (result["exit"], result["output"][-1], result["keyword"]) == (3, "oops", "notify_master")


def test_the_arguments_of_a_script_stay_out_of_the_log(lab: Lab) -> None:
    run(lab, Job("VI_1", "notify", ("/bin/sh", "-c", "exit 1", "--token=hunter2")))
    assert lab.lines
    assert not lab.logged("hunter2")


def test_death_by_signal_is_named(lab: Lab) -> None:
    runner = run(lab, shell("kill -USR1 $$"))
    assert lab.logged("killed by SIGUSR1")
    assert next(iter(runner.results.values()))["signal"] == "SIGUSR1"


def test_a_time_limit_ends_the_script_with_sigterm(lab: Lab, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    runner = run(lab, shell(f"trap 'echo term >>{trace}; exit 7' TERM; while :; do sleep 0.05; done"), timeout=0.5)
    assert trace.read_text() == "term\n"
    assert lab.logged("exit status 7 after 0.")
    assert lab.logged("it did not end within 0.5 s")
    assert next(iter(runner.results.values()))["error"] == "it did not end within 0.5 s"


def test_a_script_that_ignores_sigterm_is_killed_two_seconds_later(lab: Lab) -> None:
    runner = run(lab, shell("trap '' TERM; while :; do sleep 0.1; done"), timeout=0.3)
    result = next(iter(runner.results.values()))
    assert result["signal"] == "SIGKILL"
    assert 2.2 < result["duration"] < 6


def test_a_time_limit_ends_the_descendants_too(lab: Lab, tmp_path: Path) -> None:
    # The inner shell ignores SIGTERM and is no child of ours; its end closes the pipe.
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    inner = f'trap "" TERM; exec >{fifo}; echo up; while :; do sleep 0.1; done'
    run(lab, shell(f"sh -c '{inner}' & wait"), timeout=1.0)
    assert os.read(reader, 100) == b"up\n"

    def gone() -> bool:
        try:
            return os.read(reader, 100) == b""
        except BlockingIOError:
            return False

    lab.until(gone)
    os.close(reader)


def test_what_a_script_leaves_in_the_background_lives_on_and_may_write(lab: Lab, tmp_path: Path) -> None:
    # a service started by a notify script must not die of SIGPIPE at its first line of output
    done = tmp_path / "done"
    runner = run(lab, shell(f"(sleep 0.3; echo hello; echo again; echo alive >{done}) & exit 0"))
    assert runner.results[("VI_1", "notify")]["duration"] < 0.3
    lab.until(lambda: done.exists() and done.read_text() == "alive\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("/nonexistent/script",), "/nonexistent/script does not exist"),
        (("no-such-program-anywhere", "x"), "no-such-program-anywhere does not exist"),
        (("/etc/passwd",), "/etc/passwd: permission denied"),
    ],
)
def test_what_cannot_run_is_one_line(lab: Lab, argv: tuple[str, ...], message: str) -> None:
    runner = run(lab, Job("VI_1", "notify", argv))
    (line,) = lab.lines
    assert line.startswith(f"VI_1: notify: {message}")
    assert next(iter(runner.results.values()))["error"]


def test_a_script_without_interpreter_line_is_explained(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    run(lab, Job("VI_1", "notify", (str(script),)))
    assert lab.logged("a script starts with a line like #!/bin/sh")


def test_a_missing_interpreter_is_not_blamed_on_the_script(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nonexistent/python\n")
    script.chmod(0o755)
    run(lab, Job("VI_1", "notify", (str(script),)))
    assert lab.logged("its interpreter (first line) does not exist")


def test_after_a_script_that_cannot_run_the_next_one_does(lab: Lab, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    run(lab, Job("VI_1", "notify_master", ("/nonexistent",)), shell(f"touch {mark}"))
    assert mark.exists()


def test_an_unknown_user_is_named(lab: Lab) -> None:
    run(lab, shell("true", user="no-such-user"))
    assert lab.lines == ["VI_1: notify: /bin/sh: user no-such-user does not exist"]


def test_a_full_queue_drops_the_oldest_and_says_so(lab: Lab, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    gate = tmp_path / "gate"
    runner = scripts.Runner(lab.loop, lab.timers, lab.log)
    runner.submit(shell(f"until [ -e {gate} ]; do sleep 0.01; done"))
    for number in range(scripts.MAX_QUEUED + 1):
        runner.submit(shell(f"echo {number} >>{trace}"))
    assert runner.dropped == 1
    assert lab.logged("VI_1: notify not run: 64 scripts of this instance are waiting already")
    gate.touch()
    lab.until(lambda: not runner.busy, 60)
    assert trace.read_text().split() == [str(number) for number in range(1, scripts.MAX_QUEUED + 1)]


def test_the_end_leaves_no_child_and_names_what_did_not_run(lab: Lab) -> None:
    runner = scripts.Runner(lab.loop, lab.timers, lab.log)
    runner.submit(shell("sleep 60"))
    runner.submit(shell("true", keyword="notify_stop"))
    runner.end("the daemon is ending")
    lab.until(lambda: not runner.busy)
    assert lab.logged("VI_1: notify_stop not run: the daemon is ending")
    assert lab.logged("killed by SIGTERM")
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# ------------------------------------------------------------------ what a script sees


def test_a_script_starts_clean(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "IFS", "PYTHONPATH", "BASH_ENV", "NOTIFY_SOCKET"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("KEPT", "as keepalived does")
    monkeypatch.setenv("PATH", "")
    out = tmp_path / "out"
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    program = (
        "import json,os,signal;"
        "blocked=[int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK,[])];"
        f"json.dump([dict(os.environ),os.getcwd(),os.readlink('/proc/self/fd/0'),sorted(map(int,os.listdir('/proc/self/fd')))[:4],"
        f"os.getsid(0)==os.getpid(),blocked,os.umask(0)],open({str(out)!r},'w'))"
    )
    run(lab, Job("VI_1", "notify", (sys.executable, "-I", "-c", program)))
    os.close(leak)
    env, cwd, stdin, fds, leader, blocked, umask = json.loads(out.read_text())
    assert not {"LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "BASH_ENV", "NOTIFY_SOCKET"} & set(env)
    assert env["KEPT"] == "as keepalived does"
    assert env["PATH"] == scripts.DEFAULT_PATH
    assert (cwd, stdin, leader, blocked, umask) == ("/", "/dev/null", True, [], 0o022)
    assert leak not in fds[:3]
    assert len(fds) == 4  # 0, 1, 2 and the listing itself
    assert env["USER"] == env["LOGNAME"] == pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def nobody() -> pwd.struct_passwd:
    assert os.geteuid() == 0, "the accounts of scripts are tested as root"
    return pwd.getpwnam("nobody")


def test_a_script_runs_as_its_user_with_all_its_groups(lab: Lab, tmp_path: Path, nobody: pwd.struct_passwd) -> None:
    tmp_path.chmod(0o777)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    out = tmp_path / "out"
    runner = run(lab, shell(f"umask 000; id >{out}; cat /etc/shadow >/dev/null", user="nobody"))
    assert f"uid={nobody.pw_uid}(nobody) gid={nobody.pw_gid}(nogroup)" in out.read_text()
    groups = subprocess.run(["id", "-G", "nobody"], capture_output=True, text=True, check=True).stdout.split()
    assert len(out.read_text().rpartition("groups=")[2].split(",")) == len(groups)
    assert runner.results[("VI_1", "notify")]["exit"] == 1  # /etc/shadow is not nobody's


def test_script_user_is_the_default_and_a_scripts_own_user_wins(
    lab: Lab, tmp_path: Path, nobody: pwd.struct_passwd
) -> None:
    runner = scripts.Runner(lab.loop, lab.timers, lab.log)
    runner.owner = scripts.Owner("nobody")
    trace = tmp_path / "trace"
    trace.touch()
    trace.chmod(0o666)
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o755)
    runner.submit(shell(f"id -un >>{trace}"))
    runner.submit(shell(f"id -un >>{trace}", user="root"))
    lab.until(lambda: not runner.busy)
    assert trace.read_text().split() == ["nobody", "root"]


def test_set_supplementary_groups(nobody: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own group alone (seen with keepalived 2.2.7), or all that he is in."""
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 4, 24])
    who = scripts.account("daemon", "")
    assert (who.name, who.groups) == ("daemon", [who.gid])
    defs = GlobalDefs(script_user="daemon", script_group="nogroup", set_supplementary_groups=True)
    assert scripts.account(*scripts.owner(defs)).groups == sorted({4, 24, nobody.pw_gid})
    assert scripts.owner(defs).of("root", "") == ("root", "", True)
    assert scripts.account("daemon", "nogroup").gid == nobody.pw_gid


def test_without_script_user_root_stays_root_unless_keepalived_script_exists() -> None:
    assert os.geteuid() == 0
    try:
        expected = pwd.getpwnam("keepalived_script").pw_uid
    except KeyError:
        expected = 0
    assert scripts.account("", "").uid == expected


# ------------------------------------------------------------------ the helper after a killed helper


def helper_in_a_child(path: Path, *jobs: Job) -> int:
    """A runner with a journal in a process of its own, which works until it is killed."""
    pid = os.fork()
    if not pid:
        try:
            lab = Lab()
            runner = scripts.Runner(lab.loop, lab.timers, lab.log)
            runner.resume(Journal(str(path)))
            for job in jobs:
                runner.submit(job)
            lab.until(lambda: False, 60)
        finally:
            os._exit(1)
    return pid


def resumed(lab: Lab, path: Path, **options: float) -> scripts.Runner:
    """The runner of the next helper. Its guard is the parent of this process, as it was of the child's helper."""
    runner = scripts.Runner(lab.loop, lab.timers, lab.log, timeout=options.get("timeout", 30.0))
    runner.resume(Journal(str(path)))
    return runner


@pytest.fixture
def same_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    # the helpers of the test are parent and child instead of two children of one guard
    guard = os.getppid()
    monkeypatch.setattr(os, "getppid", lambda: guard)


@pytest.mark.usefixtures("same_guard")
def test_what_a_killed_helper_had_queued_is_run_and_what_ran_is_not_doubled(lab: Lab, tmp_path: Path) -> None:
    trace, gate, journal = tmp_path / "trace", tmp_path / "gate", tmp_path / "guard" / "scripts"
    first = f"echo start >>{trace}; until [ -e {gate} ]; do sleep 0.01; done; echo end >>{trace}"
    pid = helper_in_a_child(journal, shell("true"), shell(first), shell(f"echo second >>{trace}"))
    lab.until(lambda: trace.exists() and trace.read_text() == "start\n" and '"run":2' in journal.read_text())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    runner = resumed(lab, journal)
    assert runner.queued == 1
    gate.touch()
    lab.until(lambda: not runner.busy)
    assert trace.read_text().split() == ["start", "end", "second"]
    assert lab.logged("VI_1: notify /bin/sh: ended; its status went with the helper process that started it")


@pytest.mark.usefixtures("same_guard")
def test_an_inherited_script_has_a_time_limit_too(lab: Lab, tmp_path: Path) -> None:
    mark, journal = tmp_path / "mark", tmp_path / "guard" / "scripts"
    pid = helper_in_a_child(journal, shell(f"touch {mark}; sleep 1000"))
    lab.until(lambda: mark.exists() and '"run":1' in journal.read_text())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    runner = resumed(lab, journal, timeout=0.2)
    lab.until(lambda: not runner.busy)
    assert lab.logged("it did not end within 0.2 s")


@pytest.mark.usefixtures("same_guard")
def test_a_journal_forgets_what_is_done(lab: Lab, tmp_path: Path) -> None:
    journal = tmp_path / "guard" / "scripts"
    runner = resumed(lab, journal)
    for _ in range(3):
        runner.submit(shell("true"))
    lab.until(lambda: not runner.busy)
    assert len(journal.read_bytes().splitlines()) == 1
    assert not resumed(lab, journal).busy
    assert journal.stat().st_mode & 0o777 == 0o600
    assert journal.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("same_guard")
def test_a_long_journal_is_written_anew(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "LIMIT", 2000)
    gate, journal = tmp_path / "gate", tmp_path / "guard" / "scripts"
    runner = resumed(lab, journal)
    runner.submit(shell(f"until [ -e {gate} ]; do sleep 0.01; done", instance="A"))
    for _ in range(100):
        runner.submit(shell("true", instance="B"))
        lab.until(lambda: runner.results.get(("B", "notify")) and runner.queued == 0 and len(runner._running) == 1)
    assert journal.stat().st_size < 4000
    gate.touch()
    lab.until(lambda: not runner.busy)


def test_another_daemons_journal_is_not_executed(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, journal = tmp_path / "mark", tmp_path / "guard" / "scripts"
    left = Journal(str(journal))
    left.write({"add": 1, "job": shell(f"touch {mark}")})
    monkeypatch.setattr(os, "getppid", os.getpid)
    runner = resumed(lab, journal)
    assert not runner.busy
    assert not mark.exists()


@pytest.mark.usefixtures("same_guard")
def test_a_torn_last_line_is_left_out(lab: Lab, tmp_path: Path) -> None:
    mark, journal = tmp_path / "mark", tmp_path / "guard" / "scripts"
    left = Journal(str(journal))
    left.write({"add": 1, "job": shell(f"touch {mark}")})
    with journal.open("ab") as file:
        file.write(b'{"add":2,"jo')
    runner = resumed(lab, journal)
    lab.until(lambda: not runner.busy)
    assert mark.exists()
