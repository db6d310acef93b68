"""The command line: keepalived's options, our defaults, our exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from vrrpd import cli, vrrpctl


def test_the_options_of_keepalived_are_understood() -> None:
    words = ["-n", "-l", "-D", "-P", "-f", "c", "-p", "main.pid", "-r", "vrrp.pid", "-c", "checkers.pid", "-V"]
    words += ["-i", "id", "-m", "-d", "-G", "-S", "3", "-g", "file", "-B", "-I"]
    options = cli.parser().parse_args([cli.attached(word) for word in words])
    assert (options.use_file, options.pid, options.vrrp_pid, options.config_id) == ("c", "main.pid", "vrrp.pid", "id")
    assert options.dont_fork
    assert options.log_console
    assert options.log_detail
    assert options.dont_release_vrrp
    assert options.core_dump


@pytest.mark.parametrize(
    "words", [["--nonsense"], ["-Z"], ["--use"], ["file"], ["-f"], ["keywords", "x"], ["-S", "9"], ["-u", "x"]]
)
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


def test_every_signal_of_the_manual_has_keepalived_s_number(capsys: pytest.CaptureFixture[str]) -> None:
    """As `keepalived --signum` of 2.2.7 prints them; Debian builds it without TDATA, its man page has it."""
    for name, number in (("DATA", 10), ("STATS", 12), ("STATS_CLEAR", 63), ("JSON", 36), ("TDATA", 64)):
        cli.main([f"--signum={name}"])
        assert capsys.readouterr().out == f"{number}\n"
    with pytest.raises(SystemExit):
        cli.main(["--signum", "OTHER"])


@pytest.mark.parametrize(
    ("words", "file"),
    [(["-t"], ""), (["-t", "-f", "c"], ""), (["-tlog"], "log"), (["-t=log"], "log"), (["--config-test"], ""),
     (["--config-test=log"], "log"), ([], None)],
)  # fmt: skip
def test_the_file_of_a_check_stands_in_the_same_word(words: list[str], file: str | None) -> None:
    assert cli.parser().parse_args([cli.attached(word) for word in words]).config_test == file


def test_the_findings_of_a_check_go_to_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, log = tmp_path / "c", tmp_path / "log"
    config.write_text("nonsense\n")
    assert cli.main(["-f", str(config), f"-t={log}"]) == 5
    assert "unknown keyword 'nonsense'" in log.read_text()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("option", "instead"), [("-R", "always followed"), ("--genhash", "genhash"), ("-e", "include_check")]
)
def test_what_cannot_be_is_refused_with_a_reason(option: str, instead: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([option]) == cli.EXIT_USAGE
    assert instead in capsys.readouterr().err


@pytest.mark.parametrize(("option", "instead"), [("-x", "no SNMP agent"), ("--address-monitoring", "ip monitor")])
def test_what_is_missed_is_said(option: str, instead: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c"
    config.write_text("")
    assert cli.main([option, "-t", "-f", str(config)]) == 0
    assert instead in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "--dont-fork --log-console --log-detail --vrrp -f c",
        "--dont-fork --dump-conf --log-console --log-detail --log-facility 7 --vrrp -f c --release-vips --pid p",
        "-nldf c",
        "-P -D -f c -p p -r r -c k",
        "-Dn -d -S 0 -fc --flush-log-file -g l",
        "--use-file=c --pid=p --vrrp_pid=r --checkers_pid=k --bfd_pid=b --no-syslog --log-facility=local3 -B -I --all",
        "-f c --namespace=n --config-id=i --umask=077 --core-dump --core-dump-pattern=core --no-mem-check -m -M",
    ],
)
def test_command_lines_of_units_and_containers(words: str) -> None:
    options = cli.parser().parse_args([cli.attached(word) for word in words.split()])
    assert options.use_file == "c"


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [("-u 027", "umask", 0o27), ("-u 0x12", "umask", 0x12), ("-S local3", "log_facility", 19),
     ("-S 7", "log_facility", 23), ("-S daemon", "log_facility", 3), ("-s blue", "namespace", "blue"),
     ("-M", "core_dump_pattern", ""), ("--perf=run", "perf", "run"), ("--ignore-sigint", "ignore_sigint", True)],
)  # fmt: skip
def test_values_of_options(words: str, name: str, value: object) -> None:
    options = cli.parser().parse_args([cli.attached(word) for word in words.split()])
    assert getattr(options, name) == value


@pytest.mark.parametrize(
    ("words", "namespace", "instance", "expected"),
    [
        ([], "", "", ("/run/vrrpd", "/run/vrrpd/vrrpd.pid", "/var/lib/vrrpd")),
        ([], "blue", "one", ("/run/vrrpd_blue_one", "/run/vrrpd_blue_one/vrrpd.pid", "/var/lib/vrrpd_blue_one")),
        ([], "", "one", ("/run/vrrpd_one", "/run/vrrpd_one/vrrpd.pid", "/var/lib/vrrpd_one")),
        (["-p", "/x/main.pid"], "", "one", ("/x/main.pid.d", "/x/main.pid", "/var/lib/vrrpd")),
        (["--run-dir", "/run/y"], "blue", "", ("/run/y", "/run/y/vrrpd.pid", "/var/lib/vrrpd")),
    ],
)
def test_several_daemons_have_folders_of_their_own(
    words: list[str], namespace: str, instance: str, expected: tuple[str, str, str]
) -> None:
    setting = cli._setting(cli.parser().parse_args(words)).placed(namespace, instance)
    assert (setting.run_dir, setting.pid_file, setting.state_dir) == expected
    if setting.movable or "_" in setting.run_dir:
        assert vrrpctl._socket_of(namespace, instance) == f"{setting.run_dir}/control.sock"


def test_the_checkers_alone_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-C"]) == cli.EXIT_CANNOT_RUN
    assert "no health checkers" in capsys.readouterr().err
