# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller side of vrrpd_deploy: names the release, fetches the secrets, uploads the archive when it is missing.

The release is a tar of the daemon's package and its pure-Python dependencies, the same bytes from the same sources on
any controller; its checksum is its version. A converged node needs one module call and no upload.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.util
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parent.parent
# Ansible puts a project's module_utils into what it sends to a node, but not on its own import path.
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
from ansible.module_utils.vrrpd_lines import secrets_of  # noqa: E402

DEPENDENCIES = ("tabulate",)  # importable single files that travel beside the package
SUFFIXES = (".py", ".service")
MAIN = '''"""A release's door: `python3 FOLDER vrrpd|vrrpctl ARGUMENTS` (the launchers in /usr/local/sbin use it)."""

import sys

program = sys.argv.pop(1) if len(sys.argv) > 1 else ""
sys.argv[0] = program
if program == "vrrpd":
    from vrrpd.cli import main
elif program == "vrrpctl":
    from vrrpd.vrrpctl import main
else:
    sys.exit("usage: python3 FOLDER vrrpd|vrrpctl ARGUMENTS")
sys.exit(main())
'''


class ActionModule(ActionBase):
    # Only a missing release is transferred: `_upload` makes the temporary folder then. Made ahead, it would cost a
    # converged node three more round trips.
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        arguments.pop("archive", None)
        if arguments.get("state", "present") == "present":
            data = archive()
            checksum = hashlib.sha256(data).hexdigest()
            arguments.update(version=f"{version()}-{checksum[:12]}", checksum=checksum)
            arguments["secrets"] = self._secrets(arguments.get("secrets"), task_vars)
        else:
            arguments.pop("secrets", None)
        try:
            answer = self._execute_module("vrrpd_deploy", module_args=arguments, task_vars=task_vars)
            if answer.pop("need_archive", False):
                arguments["archive"] = self._upload(data)
                answer = self._execute_module("vrrpd_deploy", module_args=arguments, task_vars=task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        result.update(answer)
        return result

    def _secrets(self, given: Any, task_vars: dict[str, Any]) -> str:
        """Encoded: what Ansible masks is then this text, and never a word that a report happens to contain."""
        if given is None:
            variables = ("vrrpd_instances", "vrrpd_overrides", "vrrpd_blocks")
            found = (self._templar.template(task_vars.get(name) or {}) for name in variables)
            given = secrets_of(*found)
        if not isinstance(given, dict):
            raise AnsibleActionFail("secrets: write a dictionary, placeholder -> value")
        text = json.dumps({"".join(str(mark)): "".join(str(value)) for mark, value in given.items()})
        return base64.b64encode(text.encode()).decode() if given else ""

    def _upload(self, data: bytes) -> str:
        shell = self._connection._shell
        if shell.tmpdir is None:
            self._make_tmp_path()
        with tempfile.NamedTemporaryFile(prefix="vrrpd-", suffix=".tar.gz") as file:
            file.write(gzip.compress(data, 6, mtime=0))
            file.flush()
            remote = self._transfer_file(file.name, shell.join_path(shell.tmpdir, "release.tar.gz"))
        self._fixup_perms2((shell.tmpdir, remote))
        return remote


def version() -> str:
    """`__version__` of the package that is going to be shipped."""
    for line in (ROOT / "vrrpd" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise AnsibleActionFail(f"{ROOT}/vrrpd/__init__.py has no __version__")


def archive() -> bytes:
    """The release as a tar: sorted, without times, owners and modes of this machine."""
    files: dict[str, bytes] = {"__main__.py": MAIN.encode()}
    for base, folders, names in os.walk(ROOT / "vrrpd"):
        folders[:] = [folder for folder in folders if folder != "__pycache__"]
        for name in names:
            if name.endswith(SUFFIXES):
                path = Path(base, name)
                files[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    files["LICENSE"] = (ROOT / "LICENSE").read_bytes()
    for name in DEPENDENCIES:
        files.update(dependency(name))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            tar.addfile(member, io.BytesIO(files[name]))
    return packed.getvalue()


def dependency(name: str) -> dict[str, bytes]:
    """A dependency of the daemon, from the controller's own installation (requirements.txt pins it)."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise AnsibleActionFail(
            f"the Python package '{name}' is missing on the controller: pip install -r requirements.txt"
        )
    origin = Path(spec.origin)
    if origin.name != "__init__.py":
        return {f"{name}.py": origin.read_bytes()}
    return {
        path.relative_to(origin.parent.parent).as_posix(): path.read_bytes()
        for path in origin.parent.rglob("*.py")
        if "__pycache__" not in path.parts
    }
