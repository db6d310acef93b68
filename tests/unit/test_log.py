"""Log lines: where they go, their form, and that foreign text cannot forge or garble one."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from vrrpd import helper, log


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ümlaut", "plain ümlaut"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x1b[2Jclear", "\\x1b[2Jclear"),
        ("right\u202eleft", "right\\u202eleft"),
        ("\udc80", "\\udc80"),
        ("nul\0", "nul\\x00"),
    ],
)
def test_foreign_text_is_one_harmless_line(text: str, shown: str) -> None:
    assert log.escape(text) == shown


def pipe_log(to_stderr: bool = True, detailed: bool = False) -> tuple[log.Log, int, int]:
    read, write = os.pipe()
    return log.open_log(to_stderr, detailed, stderr=write), read, write


def test_stderr_shows_time_and_the_severity_that_matters() -> None:
    out, read, write = pipe_log()
    out.write("info", "VI_1: BACKUP -> MASTER (no advert)", 1763832000.125)
    out.error("bad\nthing")
    first, second, _ = os.read(read, 4096).decode().split("\n")
    os.close(read)
    os.close(write)
    assert re.fullmatch(r"2025-11-2[12] \d\d:\d\d:00\.125 VI_1: BACKUP -> MASTER \(no advert\)", first)
    assert re.fullmatch(r"\S+ \S+ error: bad\\nthing", second)


def test_journald_gets_priorities_and_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    status = os.fstat(write)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    out = log.open_log(to_stderr=False, stderr=write)
    out.warning("maintenance is on")
    out.info("started")
    assert os.read(read, 4096) == b"<4>maintenance is on\n<6>started\n"
    os.close(read)
    os.close(write)


def test_a_stale_journal_stream_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    # systemd.exec(5): the variable is inherited, the stream may have been redirected since
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    out, read, write = pipe_log()
    out.info("started")
    assert not os.read(read, 4096).startswith(b"<")
    os.close(read)
    os.close(write)


def test_debug_lines_only_when_asked_for() -> None:
    for detailed, expected in ((False, b""), (True, b"details")):
        out, read, write = pipe_log(detailed=detailed)
        out.debug("details")
        os.close(write)
        assert os.read(read, 4096)[-8:-1] == expected
        os.close(read)


def test_a_closed_stderr_is_no_error() -> None:
    out, read, write = pipe_log()
    os.close(read)
    os.close(write)
    out.info("nobody reads")


def listener(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(5)
    return sock


def test_syslog_lines_have_the_form_of_syslog_3(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = log.Syslog(str(path))
    out = log.Log(sink)
    with listener(path) as sock:
        out.write("warning", "interface eth0 is down", 1763832000.0)
        line = sock.recv(4096).decode()
    sink.close()
    # facility daemon (3), severity warning (4): RFC 3164 4.1.1
    assert re.fullmatch(rf"<28>Nov 2[12] \d\d:\d\d:00 vrrpd\[{os.getpid()}\]: interface eth0 is down", line)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a process has its log for life
def test_the_command_line_chooses_facility_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-S local3 -g FILE in a namespace; -G leaves the file alone."""
    device, file = tmp_path / "dev", tmp_path / "file"
    monkeypatch.setattr(log, "DEV_LOG", str(device))
    setting = helper.Setting(log_facility=19, log_file=str(file), tag="blue_one")
    with listener(device) as sock:
        log.log_of(setting).warning("hello")
        line = sock.recv(4096).decode()
        assert line.startswith(f"<{19 << 3 | 4}>")
        assert f" vrrpd_blue_one[{os.getpid()}]: hello" in line
        assert file.read_text().endswith("warning: hello\n")
        sock.settimeout(0.1)
        log.log_of(setting._replace(syslog=False)).info("to the file")
        with pytest.raises(OSError, match="timed out"):
            sock.recv(4096)
    assert file.read_text().endswith("to the file\n")
    assert file.stat().st_mode & 0o777 == 0o640


def test_syslog_survives_a_restart_of_its_daemon_and_tells_what_was_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = log.Syslog(str(path))
    out = log.Log(sink)
    with listener(path) as sock:
        out.info("one")
        assert sock.recv(4096).endswith(b"one")
    out.info("two")
    path.unlink()
    out.info("three")
    with listener(path) as sock:
        out.info("four")
        assert sock.recv(4096).endswith(b"four (2 earlier lines lost: syslog did not take them)")
        out.info("five")
        assert sock.recv(4096).endswith(b": five")
    sink.close()


def test_a_stuck_syslog_daemon_does_not_stop_us(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = log.Syslog(str(path))
    out = log.Log(sink)
    with listener(path):
        for number in range(2000):  # far more than its queue holds, and nobody reads
            out.info(f"line {number}")
    sink.close()
