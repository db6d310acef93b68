#!/usr/bin/python
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: vrrpd_info
short_description: Read the state of the vrrpd daemon
version_added: "0.1.0"
author: vrrpd contributors (@vrrpd)
description:
  - Returns what the daemon says of itself over its control socket.
options:
  socket:
    description: The daemon's control socket.
    type: path
    default: /run/vrrpd/control.sock
  instance:
    description: Only this instance.
    type: str
  required:
    description: Fail when the daemon does not answer. Otherwise RV(running) is false and RV(error) says why.
    type: bool
    default: true
  timeout:
    description: Seconds to wait for the answer.
    type: int
    default: 10
attributes:
  check_mode:
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
- name: Read the state of one instance
  vrrpd_info:
    instance: VI_1
  register: info

- name: Name the owner
  ansible.builtin.debug:
    msg: "{{ inventory_hostname }} owns the address"
  when: info.instances[0].state == 'MASTER'
"""

RETURN = r"""
running:
  description: Whether the daemon answered.
  returned: always
  type: bool
error:
  description: Why it did not, with what the service manager knows.
  returned: when it did not
  type: str
version:
  description: The daemon's version.
  returned: when it answered
  type: str
release:
  description: The release that runs.
  returned: when it answered
  type: str
config:
  description: Path, checksum and time of the configuration that runs.
  returned: when it answered
  type: dict
maintenance:
  description: Whether the node is in maintenance.
  returned: when it answered
  type: bool
uptime:
  description: Seconds since the daemon started.
  returned: when it answered
  type: float
processes:
  description: The process ids, by role.
  returned: when it answered
  type: dict
instances:
  description: The virtual routers.
  returned: when it answered
  type: list
  elements: dict
  sample:
    - name: VI_1
      state: MASTER
      interface: eth0
      virtual_router_id: 51
      priority: 200
      virtual_ipaddress: [192.168.100.100/24]
      faults: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.vrrpd_control import SOCKET, DaemonError, chosen, explained, status


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "default": SOCKET},
            "instance": {"type": "str"},
            "required": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    wants = module.params
    try:
        found = status(wants["socket"], wants["timeout"])
    except DaemonError as error:
        if wants["required"]:
            module.fail_json(msg=explained(error), running=False)
        module.exit_json(changed=False, running=False, error=explained(error))
    try:
        instances = chosen(found, wants["instance"])
    except DaemonError as error:
        module.fail_json(msg=str(error), running=True)
    known = ("version", "release", "config", "maintenance", "uptime", "processes")
    facts = {key: found.get(key) for key in known}
    module.exit_json(changed=False, running=True, instances=instances, **facts)


if __name__ == "__main__":
    main()
