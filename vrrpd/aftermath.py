"""What ExecStopPost= runs: the will of a daemon that was killed, executed by nobody of it.

Another host may have the addresses already, so that every millisecond counts: this imports what it needs and no more.
The will itself is will.py's, the virtual interfaces are vmacs.py's, the nftables table is firewall.py's.
"""

from __future__ import annotations

import contextlib
import os
import signal

from vrrpd import process, will
from vrrpd.log import open_log
from vrrpd.pidfile import EXIT_RUNNING, PREDECESSOR_WAIT, Running, lock_pid_file, outlive

# vmacs.FILE, firewall.FILE and statics.FILE, without which there is nothing to import those for.
DEVICES, TABLES, STATICS = "devices.json", "firewall.json", "statics.json"
EXIT_CANNOT_RUN = 4


def execute(run_dir: str, pid_file: str, vrrp_pid_file: str) -> int:
    """Undo whatever a guard that was killed left behind. Not under the feet of a living one."""
    folder = os.path.join(run_dir, will.FOLDER)
    if not os.path.isdir(folder):
        return 0
    process.schedule_realtime()
    log = open_log(True)
    try:
        process.enter_noted_namespace(folder)
    except OSError as error:
        log.error(f"no will is executed: its network namespace: {error.strerror}")
        return EXIT_CANNOT_RUN
    try:
        locks = [lock_pid_file(pid_file), outlive(vrrp_pid_file, PREDECESSOR_WAIT)]
    except Running as error:
        log.error(f"no will is executed: {error}")
        return EXIT_RUNNING
    records = will.left_behind(folder)
    if os.path.exists(os.path.join(folder, DEVICES)):
        from vrrpd import vmacs

        devices = vmacs.Devices(folder, log.write)
        devices.load()
        will.execute(records, log.write, only_present=True, virtual=devices.names)
        devices.undo()
    else:
        will.execute(records, log.write, only_present=True)
    if os.path.exists(os.path.join(folder, TABLES)):
        from vrrpd import firewall

        tables = firewall.Tables(folder, log.write)
        tables.load()
        tables.undo()
    if os.path.exists(os.path.join(folder, STATICS)):
        from vrrpd.statics import Statics

        items = Statics(folder, log.write)
        items.load()
        items.undo()
    for fd, path in zip(locks, (pid_file, vrrp_pid_file)):
        os.unlink(path)
        os.close(fd)
    for pid in process.stopped_orphans(b"vrrpd-"):  # the helper; systemd signals nobody but the guard
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return 0
