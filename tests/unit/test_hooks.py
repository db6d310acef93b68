"""startup_script and shutdown_script, run by a guard that waits."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from vrrpd import hooks


class Hook:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def run(self, text: str, timeout: float = 10, **more: Any) -> tuple[str, str]:
        hook = {"argv": ["/bin/sh", "-c", text, "sh"], "user": "", "group": "", "timeout": timeout}
        hooks.run("startup_script", hook, lambda level, message: self.lines.append((level, message)), **more)
        (line,) = self.lines
        return line


def test_it_has_ended_when_the_daemon_goes_on(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    level, message = Hook().run(f"sleep 0.2; echo $LD_PRELOAD. >{mark}")
    assert mark.read_text() == ".\n"
    assert level == "info"
    assert message.startswith("startup_script /bin/sh: exit status 0 after 0.")


def test_a_failure_is_said_and_no_more() -> None:
    level, message = Hook().run("exit 7")
    assert level == "error"
    assert message.startswith("startup_script /bin/sh: exit status 7 after")


def test_one_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    level, message = Hook().run(f"(sleep 3; touch {mark}) & trap '' TERM; echo $! ; wait; sleep 60", timeout=0.3)
    assert level == "error"
    assert message.endswith("it did not end within 0.3 s")
    time.sleep(1)
    assert not mark.exists()


def test_a_daemon_that_is_to_stop_does_not_wait_for_it() -> None:
    since = time.monotonic()
    level, message = Hook().run("sleep 60", timeout=60, stopped=lambda: True)
    assert level == "warning"
    assert message.endswith("the daemon is stopping")
    assert time.monotonic() - since < 5


def test_a_program_that_is_not_there_is_named(capfd: Any) -> None:
    hook = {"argv": ["/nowhere/script"], "user": "", "group": "", "timeout": 1}
    hooks.run("shutdown_script", hook, lambda level, message: None)
    assert "/nowhere/script does not exist" in capfd.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change to another user")
def test_its_user_is_that_of_the_file(capfd: Any) -> None:
    hook = {"argv": ["/bin/sh", "-c", "id -un >&2"], "user": "nobody", "group": "", "timeout": 10}
    hooks.run("startup_script", hook, lambda level, message: None)
    assert capfd.readouterr().err == "nobody\n"
