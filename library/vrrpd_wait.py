#!/usr/bin/python
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: vrrpd_wait
short_description: Wait until the vrrpd daemon is in a state
version_added: "0.1.0"
author: vrrpd contributors (@vrrpd)
description:
  - Polls the daemon's control socket until a condition holds, and changes nothing.
  - A wait that fails tells what was last seen.
options:
  for:
    description:
      - V(settled) is owner, or backup of an owner that it hears, or in maintenance.
      - V(released) is anything but owner. V(stopped) means that the daemon does not answer.
    type: str
    choices: [settled, master, backup, fault, released, stopped]
    default: settled
  instance:
    description: Only this instance. Without it the condition must hold for all.
    type: str
  timeout:
    description: Seconds to wait.
    type: int
    default: 60
  stable_for:
    description:
      - Seconds for which no instance may change its state while the condition holds.
      - V(-1) takes four intervals of the slowest instance, in which every node has made up its mind.
    type: float
    default: 0
  socket:
    description: The daemon's control socket.
    type: path
    default: /run/vrrpd/control.sock
attributes:
  check_mode:
    details: In check mode it returns at once, because what it would wait for has not been done.
    support: full
  diff_mode:
    support: none
  platform:
    platforms: posix
    support: full
extends_documentation_fragment:
  - action_common_attributes
"""

EXAMPLES = r"""
- name: Wait until this node owns the address
  vrrpd_wait:
    for: master
    instance: VI_1
    timeout: 10

- name: Wait until nothing moves any more
  vrrpd_wait:
    stable_for: -1
"""

RETURN = r"""
instances:
  description: The virtual routers when the condition held.
  returned: when it was not O(for=stopped) and not check mode
  type: list
  elements: dict
elapsed:
  description: Seconds waited.
  returned: success
  type: float
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.vrrpd_control import (
    CONDITIONS,
    SOCKET,
    DaemonError,
    explained,
    resting,
    status,
    told,
    wait,
    wanting,
)


def gone(path: str, timeout: float) -> None:
    """Return when nobody answers any more."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            found = status(path)
        except DaemonError:
            return
        if time.monotonic() >= deadline:
            seen = "; ".join(told(instance) for instance in found["instances"]) or "no instances"
            raise DaemonError(f"after {timeout:g} s the daemon still answers; last seen: {seen}")
        time.sleep(0.1)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "for": {"type": "str", "choices": [*CONDITIONS, "stopped"], "default": "settled"},
            "instance": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
            "stable_for": {"type": "float", "default": 0.0},
            "socket": {"type": "path", "default": SOCKET},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, elapsed=0.0)
    wants = module.params
    start = time.monotonic()
    result = {}
    try:
        if wants["for"] == "stopped":
            gone(wants["socket"], wants["timeout"])
        else:
            accept = wanting(wants["for"], wants["instance"])
            found = wait(wants["socket"], accept, wants["timeout"])
            stable_for = resting(found) if wants["stable_for"] < 0 else wants["stable_for"]
            if stable_for:
                found = wait(wants["socket"], accept, wants["timeout"], stable_for)
            result["instances"] = found["instances"]
    except DaemonError as error:
        module.fail_json(msg=explained(error), elapsed=round(time.monotonic() - start, 3))
    module.exit_json(changed=False, elapsed=round(time.monotonic() - start, 3), **result)


if __name__ == "__main__":
    main()
