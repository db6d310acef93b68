"""Ansible connection of the test lab: `podman exec` or `docker exec`, with pipelining.

Owns how a task reaches a container. Making and removing containers is lab/create.yml and lab/destroy.yml.
"""

from __future__ import annotations

DOCUMENTATION = """
name: labctr
short_description: Run tasks in a container of the test lab
description: Runs C(ENGINE exec -i). One plugin for podman and docker, without a collection.
author: The vrrpd authors (@vrrpd)
options:
  remote_addr:
    description: The host's name in the inventory.
    default: inventory_hostname
    vars: [{name: inventory_hostname}]
  prefix:
    description: What the container's name has before it.
    required: true
    vars: [{name: lab_prefix}]
  remote_user:
    description: User inside the container.
    vars: [{name: ansible_user}]
  engine:
    description: The command that runs containers.
    default: podman
    vars: [{name: ansible_labctr_engine}]
    env: [{name: LAB_ENGINE}]
"""

import shlex
import subprocess
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

# How the engines say that no command ran: 125 for their own failures, and for a container that is not running podman
# exits 255, docker 1, with these words. Everything else is the command's own exit code.
ENGINE_FAILED = 125
NOT_RUNNING = (b"container state improper", b"is not running", b"is paused")


class Connection(ConnectionBase):
    """One container. There is no session to keep: each command is an exec of its own."""

    transport = "labctr"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def close(self) -> None:
        self._connected = False

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = False) -> tuple[int, bytes, bytes]:
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._exec(["/bin/sh", "-c", cmd], in_data)

    def put_file(self, in_path: str, out_path: str) -> None:
        super().put_file(in_path, out_path)
        with open(in_path, "rb") as file:
            self._copied(self._exec(["/bin/sh", "-c", f"cat > {shlex.quote(out_path)}"], file.read()))

    def fetch_file(self, in_path: str, out_path: str) -> None:
        super().fetch_file(in_path, out_path)
        data = self._copied(self._exec(["cat", in_path]))
        with open(out_path, "wb") as file:
            file.write(data)

    def _exec(self, argv: list[str], data: bytes | None = None) -> tuple[int, bytes, bytes]:
        user: Any = self.get_option("remote_user")
        command = [self.get_option("engine"), "exec", "-i", *(["-u", user] if user else [])]
        container = f"{self.get_option('prefix')}-{self.get_option('remote_addr')}"
        done = subprocess.run([*command, container, *argv], input=data or b"", capture_output=True, check=False)
        if done.returncode == ENGINE_FAILED or (
            done.returncode in (1, 255)
            and done.stderr.startswith(b"Error")
            and any(words in done.stderr for words in NOT_RUNNING)
        ):  # stopped, paused, never made: ansible calls that unreachable
            raise AnsibleConnectionFailure(done.stderr.decode(errors="replace"))
        return done.returncode, done.stdout, done.stderr

    @staticmethod
    def _copied(result: tuple[int, bytes, bytes]) -> bytes:
        code, out, err = result
        if code:
            raise AnsibleConnectionFailure(err.decode(errors="replace"))
        return out
