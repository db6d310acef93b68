"""The password is nowhere but in the file: not in the most talkative output, a diff, a command line, a journal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEW = "n3wP4ss."


def test_a_changed_password_is_shown_nowhere(cluster: Any, site: Callable[..., Any]) -> None:
    old = cluster.variables["vrrpd_instances"]["VI_1"]["authentication"]["auth_pass"]
    secrets = (old, NEW)
    seen: set[str] = set()
    over = threading.Event()
    watcher = threading.Thread(target=watch_command_lines, args=(secrets, seen, over))
    watcher.start()
    try:
        # Both nodes' processes are this machine's, too: one watcher sees the controller and the containers.
        run = site("-vvv", "--diff", "-e", instances_with(cluster, NEW))
    finally:
        over.set()
        watcher.join()

    assert all(run.counts("changed").values())
    assert "auth_pass" in run.output, "the diff must show that the password changed"
    for secret in secrets:
        assert secret not in run.output
    assert seen == set()
    for node in cluster.routers.values():
        assert NEW in node.run("cat /etc/vrrpd/vrrpd.conf"), "the file must have it"
        told = node.run(
            "journalctl --no-pager -o export | tr -cd '[:print:]\\n'; vrrpctl status --json; vrrpd -t --json"
        )
        for secret in secrets:
            assert secret not in told

    assert all(site("-vvv", "--diff").counts("changed").values())  # back to the inventory's own
    assert cluster.one_owner("VI_1", cluster.except_for()).name == "router1"


def instances_with(cluster: Any, password: str) -> str:
    """The scenario's instances with another password, as an argument that does not hold it: a file."""
    import json
    import os

    instances = json.loads(json.dumps(cluster.variables["vrrpd_instances"]))
    instances["VI_1"]["authentication"]["auth_pass"] = password
    path = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "password.json"
    path.write_text(json.dumps({"vrrpd_instances": instances}))
    return f"@{path}"


def watch_command_lines(secrets: tuple[str, ...], seen: set[str], over: threading.Event) -> None:
    while not over.wait(0.05):
        for process in Path("/proc").glob("[0-9]*"):
            try:
                text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:  # it ended
                continue
            seen.update(text.decode(errors="replace") for secret in secrets if secret.encode() in text)
