#!/usr/bin/python
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: vrrpd_plan
short_description: Plan VRRP clusters from the inventory
version_added: "0.1.0"
author: vrrpd contributors (@vrrpd)
description:
  - Derives priorities, states, unicast peers and the configuration lines of every host of the VRRP clusters from the
    inventory alone, and validates each cluster as one.
  - Runs on the controller and contacts no node. The whole cluster is planned, also under C(--limit).
  - Every finding is reported at once, with host, variable, value and what to set.
  - The variables that it reads are those of the role C(vrrpd).
options:
  record:
    description:
      - File on the controller that remembers hosts and priorities of the last run, for O(show) and to name hosts that
        left the inventory as possible rivals.
      - By default a file per inventory in C($XDG_STATE_HOME/vrrpd).
    type: path
  show:
    description: Print the table of priorities.
    type: bool
    default: true
  phase:
    description:
      - A phase of the rotation of keys of C(auth_hmac), for C(playbooks/rotate_keys.yml). Without it the plan is what
        the inventory says.
      - V(receive) makes every key known and changes nothing that is sent. V(switch) sends with the new key, and accepts
        adverts without HMAC for as long as not every node enforces it.
    type: str
    choices: [receive, switch]
  running:
    description: What runs, host -> instance -> C(auth_hmac) as C(vrrpd_info) has it.
    type: dict
    default: {}
attributes:
  action:
    support: full
  async:
    support: none
  become:
    support: none
  bypass_host_loop:
    support: none
  check_mode:
    details: The record is not written.
    support: full
  connection:
    support: none
  delegation:
    support: none
  diff_mode:
    support: none
  platform:
    platforms: posix
    support: full
notes:
  - Secrets are not part of the result; C(vrrpd_deploy) takes them from the inventory itself.
extends_documentation_fragment:
  - action_common_attributes
  - action_common_attributes.conn
  - action_common_attributes.flow
"""

EXAMPLES = r"""
- name: Plan the clusters
  vrrpd_plan:
  run_once: true
  register: plan

- name: Plan without the table
  vrrpd_plan:
    show: false
  run_once: true
"""

RETURN = r"""
hosts:
  description: What to deploy, by host.
  returned: success
  type: dict
  contains:
    cluster:
      description: The group that is the host's cluster.
      type: str
    blocks:
      description: The configuration as an ordered tree of lines, with placeholders for secrets.
      type: list
      elements: dict
    wires:
      description: Per instance, what all nodes must agree on.
      type: dict
    hmac:
      description: Per instance, the key that adverts are sent with and those that are accepted.
      type: dict
    devices:
      description: The virtual interfaces that the daemon makes there (C(use_vmac), C(use_ipvlan)).
      type: list
      elements: str
    members:
      description: The hosts of the cluster.
      type: list
      elements: str
    left:
      description: Hosts of earlier runs that are no longer in the inventory.
      type: list
      elements: str
clusters:
  description: By cluster, its hosts, its instances and the hosts that left it.
  returned: success
  type: dict
table:
  description: One row per instance and host.
  returned: success
  type: list
  elements: dict
  sample:
    - cluster: vrrp
      instance: VI_1
      host: lb1
      interface: eth0
      priority: 200
      origin: derived
      state: MASTER
      before: 190
      changed: true
warnings_found:
  description: What is worth a look and stops nothing.
  returned: success
  type: list
  elements: str
"""
