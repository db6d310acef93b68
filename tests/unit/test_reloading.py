"""What a loader child leaves around a reload: reload_file, the log of reload_check_config, saved configurations."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from vrrpd import children, ipc, reloading
from vrrpd.model.load import load

CONFIG = """{top}
global_defs {{
    {defs}
}}
vrrp_instance VI_1 {{
    interface eth0
    virtual_router_id 51
    virtual_ipaddress {{ 192.0.2.1/24 }}
}}
"""


def memory(name: str) -> int:
    return os.memfd_create(name)


class Loads:
    """One daemon's loads, one after the other, as the guard has them made."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vrrpd.conf"
        self.former = -1

    def __call__(self, defs: str = "", top: str = "", lenient: bool = False, text: str = "") -> dict[str, Any]:
        self.path.write_text(text or CONFIG.format(defs=defs, top=top))
        result, model = memory("result"), memory("model")
        former = os.dup(self.former) if self.former >= 0 else -1
        children.load_into(result, model, str(self.path), "node1", lenient, former)
        answer: dict[str, Any] = json.loads(ipc.read_all(result))
        if not answer["exit_code"]:
            self.former = model
        return answer


@pytest.fixture
def loads(tmp_path: Path) -> Loads:
    return Loads(tmp_path)


def test_the_guard_is_told_what_it_must_know_itself(loads: Loads) -> None:
    defs = "script_user root daemon\n startup_script '/bin/true a'\n shutdown_script /bin/true nobody\n umask 027"
    defs += "\n startup_script_timeout 4\n shutdown_script_timeout 3"
    host = loads(f"{defs}\n process_name kp", "instance one\nchild_wait_time 9")["host"]
    assert host == {
        "net_namespace": "",
        "instance": "one",
        "child_wait_time": 9.0,
        "process_name": "kp",
        "umask": 0o27,
        "startup_script": {
            "argv": ["/bin/true", "a"],
            "user": "root",
            "group": "daemon",
            "supplementary": False,
            "timeout": 4,
        },
        "shutdown_script": {"argv": ["/bin/true"], "user": "nobody", "group": "", "supplementary": False, "timeout": 3},
    }


@pytest.mark.parametrize("keyword", ["net_namespace", "instance"])
def test_what_only_a_restart_changes_is_refused(loads: Loads, keyword: str) -> None:
    assert not loads(top=f"{keyword} one")["exit_code"]
    refused = loads(top=f"{keyword} two")
    assert refused["exit_code"] == 5
    assert f"{keyword}: a reload cannot change it (from 'one' to 'two')" in refused["text"]
    assert "hint: restart the daemon" in refused["text"]
    assert loads()["exit_code"] == 5
    assert not loads(top=f"{keyword} one")["exit_code"]
    lenient = loads(top=f"{keyword} two", lenient=True)
    assert lenient["exit_code"] == 0
    assert lenient["host"][keyword] == "one"


def test_the_reload_file_is_there_while_the_configuration_is_read(
    loads: Loads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "reload"
    loads(f"reload_file {file}")
    assert not file.exists()
    file.write_text("touched by whoever wrote the configuration")
    seen: list[int] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.append(file.stat().st_size)
        return load(*arguments, **options)

    monkeypatch.setattr("vrrpd.model.load.load", watched)
    loads(f"reload_file {file}")
    assert seen == [0]
    assert not file.exists()


def test_what_a_reload_found_is_in_the_log_of_reload_check_config(loads: Loads, tmp_path: Path) -> None:
    log = tmp_path / "check"
    loads(f"reload_check_config {log}")
    assert not log.exists()  # that was no reload
    assert loads(text="vrrp_instance {")["exit_code"]
    assert "error" in log.read_text()
    loads(f"reload_check_config {log}")
    assert log.read_text() == "nothing was found\n"


def test_every_configuration_that_was_loaded_is_kept(
    loads: Loads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, included = tmp_path / "saved", tmp_path / "more.conf"
    included.write_text("# more\n")
    stamps = iter(f"20261128-1200{n:02d}" for n in range(100))
    monkeypatch.setattr("time.strftime", lambda *_: next(stamps))
    loads(f"config_save_dir {folder}\n include more.conf")
    (saved,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert saved.read_text().startswith(f"# ---- {loads.path}\n")
    assert f"# ---- {included}\n# more\n" in saved.read_text()
    assert loads("nonsense")["exit_code"]
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(reloading, "SAVED", 3)
    for _ in range(4):
        loads(f"config_save_dir {folder}")
    assert [path.name[:15] for path in sorted(folder.iterdir())] == [f"20261128-1200{n:02d}" for n in (2, 3, 4)]


def test_a_disk_that_is_full_hinders_no_reload(loads: Loads, capfd: pytest.CaptureFixture[str]) -> None:
    loads("reload_check_config /nowhere/log\n config_save_dir /nowhere/saved\n reload_file /nowhere/reload")
    assert loads()["exit_code"] == 0
    err = capfd.readouterr().err
    assert "reload_check_config /nowhere/log: No such file or directory" in err
    assert "reload_file /nowhere/reload: No such file or directory" in err
