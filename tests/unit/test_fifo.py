"""Named pipes for notification, by a whole helper process: keepalived's lines, and the scripts that read them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_helper import INSTANCE, Helper

from vrrpd import helper
from vrrpd.fifo import Kept
from vrrpd.model.host import Fifo
from vrrpd.model.scripts import Script

READER = """#!/bin/sh
echo "start $*" >> {folder}/read
trap 'echo TERM >> {folder}/read; exit' TERM
while true; do
    if read line; then echo "$line" >> {folder}/read; fi
done < "$2"
"""


class WithPipes(Helper):
    """The test is the guard, which keeps the pipes for the helper after this one."""

    def kept(self) -> Kept:
        while True:
            message, fds = next(iter(self.guard.receive()))
            if message["t"] == "pipe" and fds:
                return Kept(message["path"], fds[0], message["made"])


@pytest.fixture
def process(tmp_path: Path) -> Iterator[WithPipes]:
    made = WithPipes(tmp_path)
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fifo"


def reading(path: Path) -> Callable[[], str]:
    """All that has been written since."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    data = bytearray()

    def read() -> str:
        with contextlib.suppress(BlockingIOError):
            data.extend(os.read(fd, 1 << 20))
        return data.decode()

    return read


def script(folder: Path) -> Script:
    program = folder / "reader"
    program.write_text(READER.format(folder=folder))
    program.chmod(0o755)
    return Script((str(program), "first"))


def read_by_script(folder: Path) -> list[str]:
    file = folder / "read"
    return file.read_text().splitlines() if file.exists() else []


def finish(process: Helper) -> None:
    process.vrrp.close()
    process.guard.send({"t": "finish", "grace": 5.0})
    assert process.exit() == 0


def test_the_lines_are_those_of_keepalived(process: WithPipes, path: Path) -> None:
    process.load(replace(INSTANCE), notify_fifo=Fifo(str(path)))
    read = reading(path)
    process.transition("BACKUP")
    process.transition("MASTER", seq=2)
    process.vrrp.send({"t": "rx_lower_pri", "instance": "VI_1", "source": "10.0.0.3", "priority": 50, "own": 100})
    process.transition("FAULT", seq=3, priority=90)
    process.transition("STOP", seq=4)
    process.until(lambda: "STOP" in read())
    assert read() == (
        'INSTANCE "VI_1" BACKUP 100\n'
        'INSTANCE "VI_1" MASTER 100\n'
        'INSTANCE "VI_1" MASTER_RX_LOWER_PRI 100\n'
        'INSTANCE "VI_1" FAULT 90\n'
        'INSTANCE "VI_1" STOP 100\n'
    )


def test_changes_of_the_priority_are_written_where_they_are_wanted(process: WithPipes, path: Path) -> None:
    process.load(INSTANCE, notify_fifo=Fifo(str(path)))
    read = reading(path)
    message = {"t": "priority", "instance": "VI_1", "former": 100, "reason": "script ok", "at": time.time()}
    for state, priority, piped in (("INIT", 110, True), ("MASTER", 120, True), ("MASTER", 130, False)):
        process.vrrp.send({**message, "state": state, "priority": priority, "piped": piped})
    process.transition("STOP")
    process.until(lambda: "STOP" in read())
    assert read().splitlines()[:-1] == ['INSTANCE "VI_1" BACKUP_PRIORITY 110', 'INSTANCE "VI_1" MASTER_PRIORITY 120']


@pytest.mark.parametrize(("notify_deleted", "said"), [(None, "FAULT"), (Script(()), "DELETED")])
def test_a_removed_instance_is_in_fault_or_deleted(
    process: WithPipes, path: Path, notify_deleted: Script | None, said: str
) -> None:
    process.load(replace(INSTANCE, notify_deleted=notify_deleted), notify_fifo=Fifo(str(path)))
    read = reading(path)
    process.transition("DELETED")
    process.until(lambda: read() == f'INSTANCE "VI_1" {said} 100\n')


def test_a_reload_writes_the_states_when_asked_to(process: WithPipes, path: Path) -> None:
    process.load(INSTANCE, notify_fifo=Fifo(str(path)), fifo_write_vrrp_states_on_reload=True)
    read = reading(path)
    process.guard.send({"t": "reloaded"})
    states = [{"name": "VI_1", "state": "MASTER", "priority": 100}, {"name": "VI_2", "state": "BACKUP", "priority": 9}]
    process.answer(process.vrrp, {"instances": states[:1]}, {"instances": states[1:]})
    process.until(lambda: read() == 'INSTANCE "VI_1" MASTER 100\nINSTANCE "VI_2" BACKUP 9\n')


def test_both_pipes_get_every_line_and_belong_to_whom_the_file_says(process: WithPipes, tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    process.load(
        INSTANCE,
        notify_fifo=Fifo(str(paths[0])),
        vrrp_notify_fifo=Fifo(str(paths[1]), "nobody", ""),
        script_user="root",
    )
    reads = [reading(each) for each in paths]
    process.transition("MASTER")
    for read in reads:
        process.until(lambda read=read: read() == 'INSTANCE "VI_1" MASTER 100\n')  # type: ignore[misc]
    assert [stat.filemode(each.stat().st_mode) for each in paths] == ["prw-------"] * 2
    if not os.geteuid():
        assert [each.owner() for each in paths] == ["root", "nobody"]


def test_a_pipe_that_nobody_reads_is_complained_about_and_hinders_nothing(process: WithPipes, path: Path) -> None:
    os.mkfifo(path)
    ours = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    process.load(INSTANCE, notify_fifo=Fifo(str(path)))
    fcntl.fcntl(ours, 1031, 4096)  # F_SETPIPE_SZ: as if a megabyte were full already
    for seq in range(1, 400):
        process.transition("MASTER", seq=seq)
    process.until(lambda: process.logged(f"named pipe {path}: a line dropped, nobody reads it"))
    status: dict[str, Any] = {}

    def all_seen() -> bool:
        status.update(process.ask("status", vrrp={})["status"]["fifos"][0])
        return bool(status["dropped"] == 399 - 4096 // 27)

    process.until(all_seen)
    assert sum("dropped" in line for line in process.lines()) == 1  # not once for each line
    os.close(ours)


def test_a_pipe_of_ours_is_removed_and_that_of_another_stays(process: WithPipes, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    os.mkfifo(theirs, 0o622)
    process.load(INSTANCE, notify_fifo=Fifo(str(ours)), vrrp_notify_fifo=Fifo(str(theirs)))
    assert ours.is_fifo()
    finish(process)
    assert not ours.exists()
    assert theirs.is_fifo()
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o622 & ~0o022


def test_what_is_no_pipe_is_left_alone(process: WithPipes, path: Path) -> None:
    path.write_text("precious")
    process.load(INSTANCE, notify_fifo=Fifo(str(path)))
    process.until(lambda: process.logged(f"cannot have the named pipe {path}: File exists"))
    assert path.read_text() == "precious"


def test_a_pipe_that_somebody_removes_is_made_again(process: WithPipes, path: Path) -> None:
    process.load(INSTANCE, notify_fifo=Fifo(str(path)))
    path.unlink()
    process.transition("MASTER")
    process.until(path.exists)
    read = reading(path)
    process.until(lambda: read() == 'INSTANCE "VI_1" MASTER 100\n')


def test_a_reload_that_drops_a_pipe_removes_it(process: WithPipes, path: Path) -> None:
    process.load(INSTANCE, notify_fifo=Fifo(str(path)))
    process.load(INSTANCE)
    process.until(lambda: not path.exists())


def test_the_script_reads_the_last_line_and_is_then_ended(process: WithPipes, path: Path, tmp_path: Path) -> None:
    process.load(INSTANCE, notify_fifo=Fifo(str(path)), notify_fifo_script=script(tmp_path), script_user="root")
    process.until(lambda: read_by_script(tmp_path))
    process.transition("STOP")
    finish(process)
    assert read_by_script(tmp_path) == [f"start first {path}", 'INSTANCE "VI_1" STOP 100', "TERM"]
    assert not path.exists()


def test_a_script_that_ends_is_started_again(process: WithPipes, path: Path) -> None:
    process.load(
        INSTANCE,
        notify_fifo=Fifo(str(path)),
        notify_fifo_script=Script(("/bin/sh", "-c", "exit 3", "sh")),
        script_user="root",
    )
    process.until(lambda: process.logged("/bin/sh has ended (exit status 3); started again in 1 s"))
    process.until(lambda: sum("has ended" in line for line in process.lines()) >= 2, 5)


def test_nothing_is_lost_or_read_twice_when_the_helper_dies(process: WithPipes, path: Path, tmp_path: Path) -> None:
    """The guard keeps the pipe, the script goes on beside the next helper, and is not started a second time."""
    model = {"notify_fifo": Fifo(str(path)), "notify_fifo_script": script(tmp_path), "script_user": "root"}
    process.load(INSTANCE, **model)
    kept = process.kept()
    process.until(lambda: read_by_script(tmp_path))
    process.transition("MASTER")
    process.until(lambda: process.logged("-> MASTER"))
    os.kill(process.pid, signal.SIGKILL)
    process.exit()
    (tmp_path / helper.SOCKET).unlink()
    os.write(kept.fd, b"written by the former one\n")
    successor = WithPipes(tmp_path, pipes=(kept,))
    try:
        successor.load(INSTANCE, **model)
        successor.transition("BACKUP")
        wanted = [
            f"start first {path}",
            'INSTANCE "VI_1" MASTER 100',
            "written by the former one",
            'INSTANCE "VI_1" BACKUP 100',
        ]
        successor.until(lambda: read_by_script(tmp_path) == wanted)
        finish(successor)
        end = time.monotonic() + 5
        while "TERM" not in read_by_script(tmp_path):
            assert time.monotonic() < end
        assert read_by_script(tmp_path) == [*wanted, "TERM"]
        assert not path.exists()
    finally:
        successor.close()
