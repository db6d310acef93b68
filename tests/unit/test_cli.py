"""The command line: keepalived's options, our defaults, our exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from vrrpd import cli


def test_the_options_of_keepalived_are_understood() -> None:
    words = ["-n", "-l", "-D", "-P", "-f", "c", "-p", "main.pid", "-r", "vrrp.pid", "-c", "checkers.pid", "-V"]
    words += ["-i", "id", "-m", "-d", "-G", "-S", "3", "-g", "file", "-B", "-I"]
    options = cli.parser().parse_args(words)
    assert (options.use_file, options.pid, options.vrrp_pid, options.config_id) == ("c", "main.pid", "vrrp.pid", "id")
    assert options.dont_fork
    assert options.log_console
    assert options.log_detail
    assert options.dont_release_vrrp
    assert options.core_dump


@pytest.mark.parametrize("words", [["--nonsense"], ["-Z"], ["--use"], ["file"], ["-f"], ["keywords", "x"]])
def test_a_wrong_option_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == cli.EXIT_USAGE


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "/run/vrrpd"),
        (["-p", "/tmp/x/main.pid"], "/tmp/x/main.pid.d"),
        (["-p", "/tmp/x/main.pid", "--run-dir", "/run/y"], "/run/y"),
    ],
)
def test_daemons_with_their_own_pid_file_have_their_own_directory(words: list[str], expected: str) -> None:
    assert cli.run_dir(cli.parser().parse_args(words)) == expected


def test_without_a_file_option_the_first_default_that_exists_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = tmp_path / "vrrpd.conf", tmp_path / "keepalived.conf"
    monkeypatch.setattr(cli, "CONFIGS", (str(ours), str(theirs)))
    options = cli.parser().parse_args([])
    assert cli.configuration(options) == str(ours)
    theirs.touch()
    assert cli.configuration(options) == str(theirs)
    ours.touch()
    assert cli.configuration(options) == str(ours)


def test_signal_numbers_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert [cli.main(["--signum", name]) for name in ("STOP", "RELOAD")] == [0, 0]
    assert capsys.readouterr().out.split() == ["15", "1"]


def test_the_checkers_alone_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-C"]) == cli.EXIT_CANNOT_RUN
    assert "no health checkers" in capsys.readouterr().err
