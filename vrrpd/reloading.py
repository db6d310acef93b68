"""What a loader child does beside reading: files that keepalived leaves around a reload, and what the guard is told.

In: what was loaded, and global_defs of the configuration that runs. Out: reload_file while the configuration is read,
the log of reload_check_config, copies in config_save_dir; a refusal where a reload would change what only a restart
can. It is the child's, so that no disk delays the guard.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vrrpd import atomic
from vrrpd.scripts import owner

if TYPE_CHECKING:
    from vrrpd.model.globals import GlobalDefs
    from vrrpd.model.load import Loaded

SAVED = 50  # copies that config_save_dir keeps
FIXED = ("net_namespace", "instance")  # as long as the daemon lives


def host_facts(defs: GlobalDefs) -> dict[str, Any]:
    """What the guard must know without reading a model, as plain data."""
    facts = {name: getattr(defs, name) for name in (*FIXED, "child_wait_time", "process_name", "umask")}
    for name in ("startup_script", "shutdown_script"):
        script = getattr(defs, name)
        if script is None:
            continue
        timeout = getattr(defs, f"{name}_timeout")
        facts[name] = {"argv": script.argv, "timeout": timeout, **owner(defs).of(script.user, script.group)._asdict()}
    return facts


@contextlib.contextmanager
def announced(running: GlobalDefs | None) -> Iterator[None]:
    """reload_file is there, and empty, while the configuration is read."""
    path = running.reload_file if running is not None else ""
    if not path:
        yield
        return
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(path, flags, 0o644))
    except OSError as error:
        _complain(f"reload_file {path}: {error.strerror}")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def compare(loaded: Loaded, running: GlobalDefs, config: str, lenient: bool) -> Loaded:
    """A daemon stays where it is: refused, with --lenient overlooked."""
    from dataclasses import replace

    from vrrpd.conf.source import Diagnostic

    if loaded.model is None:
        return loaded
    diagnostics = list(loaded.diagnostics)
    defs = loaded.model.global_defs
    for name in FIXED:
        former, new = getattr(running, name), getattr(defs, name)
        if former == new:
            continue
        change = f"from '{former}' to '{new}'" if former and new else f"'{new}' was added" if new else "it was removed"
        message = f"{name}: a reload cannot change it ({change})"
        hint = "restart the daemon"
        diagnostics.append(Diagnostic("warning" if lenient else "error", config, 0, 0, 0, message, hint=hint))
        defs = replace(defs, **{name: former})
    if len(diagnostics) == len(loaded.diagnostics):
        return loaded
    return loaded._replace(diagnostics=diagnostics, model=replace(loaded.model, global_defs=defs) if lenient else None)


def leave_traces(loaded: Loaded, running: GlobalDefs | None, text: str) -> None:
    """The log of reload_check_config (of the running configuration, which asked for it), and a copy to keep."""
    new = loaded.model.global_defs if loaded.model is not None else None
    log = next((defs.reload_check_config for defs in (running, new) if defs and defs.reload_check_config), "")
    folder = next((defs.config_save_dir for defs in (running, new) if defs and defs.config_save_dir), "")
    if log and running is not None:
        try:
            atomic.write(log, text or "nothing was found\n", 0o644)
        except OSError as error:
            _complain(f"reload_check_config {log}: {error.strerror}")
    if folder and new is not None:
        try:
            save(folder, loaded)
        except OSError as error:
            _complain(f"config_save_dir {folder}: {error.strerror}")


def save(folder: str, loaded: Loaded) -> None:
    """Every file that was read, one behind the other; there are passwords in it. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    content = "".join(f"# ---- {path}\n{data.decode('utf-8', 'surrogateescape')}\n" for path, data in loaded.files)
    atomic.write(os.path.join(folder, f"{stamp}-{loaded.sha256[:12]}.conf"), content)
    saved = sorted(name for name in os.listdir(folder) if name.endswith(".conf") and name[:8].isdigit())
    for name in saved[:-SAVED]:
        os.unlink(os.path.join(folder, name))


def _complain(message: str) -> None:
    """The loader has no way to the log but this."""
    os.write(2, f"vrrpd: {message}\n".encode(errors="backslashreplace"))
