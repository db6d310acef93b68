# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller side of vrrpd_plan: all of it. Reads the inventory, plans, shows the table, contacts no node.

It runs inside the controller and not as a module because only the controller has every host's variables, secrets
among them, which then travel nowhere; and because a module call would cost 0.4 s. The rules themselves are in
module_utils/vrrpd_planning.py. When those find nothing, the daemon's own reader, which lies beside us, judges the file
of every host: what it refuses is a finding too, at the variable behind the line.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import ansible.module_utils
import jinja2
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

ROOT = Path(__file__).resolve().parent.parent  # the checkout: the daemon's package and the role lie beside us
# Ansible puts a project's module_utils into what it sends to a node, but not on its own import path.
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
from ansible.module_utils.vrrpd_lines import places, secrets_of  # noqa: E402
from ansible.module_utils.vrrpd_mask import filled  # noqa: E402
from ansible.module_utils.vrrpd_planning import (  # noqa: E402
    DEFAULT_CLUSTER,
    Plan,
    message,
    new_record,
    plan,
    together,
    where_it_stands,
)

display = Display()


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"record", "show", "phase", "running"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            {
                "record": {"type": "path"},
                "show": {"type": "bool", "default": True},
                "phase": {"type": "str", "choices": ["receive", "switch"]},
                "running": {"type": "dict", "default": {}},
            }
        )
        loader = self._loader
        role = ROOT / "roles" / "vrrpd"
        defaults = plain(loader.load_from_file(str(role / "defaults" / "main.yml")) or {})
        entries = plain(loader.load_from_file(str(role / "meta" / "argument_specs.yml"))["argument_specs"])
        specs = {name: spec for entry in entries.values() for name, spec in entry["options"].items()}
        nodes, unreadable = inventory(task_vars, set(specs))
        if unreadable:
            raise AnsibleActionFail(message(unreadable))
        record_path = arguments["record"] or default_record(task_vars)
        record = read_record(record_path)
        phase = arguments["phase"]
        rotation = {"phase": phase, "running": plain(arguments["running"])} if phase else None
        made = plan(nodes, plain(task_vars["groups"]), keyword_table(), specs, defaults, record, rotation)
        if not made.errors:
            made.errors.extend(judged(made, nodes))
        if arguments["show"]:
            display.display(shown(made))
        for line in together(made.warnings):
            display.warning(line)
        if made.errors:
            raise AnsibleActionFail(message(made.errors))
        if not self._task.check_mode:
            write_record(record_path, new_record(made, record))
        # The secrets stay behind: a registered result is shown by -vvv.
        result.update(
            changed=False, hosts=made.hosts, clusters=made.clusters, table=made.table, warnings_found=made.warnings
        )
        return result


def inventory(task_vars: dict[str, Any], known: set[str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The vrrpd_* variables of every host of the clusters in question, whatever --limit says."""
    hostvars, groups = task_vars["hostvars"], task_vars["groups"]
    wanted = {DEFAULT_CLUSTER}
    for host in task_vars.get("ansible_play_hosts_all", []):
        wanted.add(str(hostvars[host].get("vrrpd_cluster") or DEFAULT_CLUSTER))
    names = dict.fromkeys(str(host) for group in sorted(wanted) for host in groups.get(group, []))
    names.update(dict.fromkeys(str(host) for host in task_vars.get("ansible_play_hosts_all", [])))
    nodes: dict[str, dict[str, Any]] = {}
    unreadable: list[str] = []
    for name in names:
        variables = hostvars[name]
        nodes[name] = {}
        for variable in sorted(key for key in variables if str(key).startswith("vrrpd_") or key == "ansible_host"):
            if variable not in known and variable != "ansible_host":
                nodes[name][str(variable)] = None  # named by the plan; its value is nobody's business
                continue
            try:
                nodes[name][str(variable)] = plain(variables[variable])
            except AnsibleError as error:
                unreadable.append(f"{name}: {variable}: {reason(error)}")
    return nodes, unreadable


def reason(error: Exception) -> str:
    """The innermost cause, in one line: 'vault_vrrp_password' is undefined."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return str(error).splitlines()[0]


def plain(value: Any) -> Any:
    """Ansible's tagged and lazy values as plain data (a lazy container is templated by being iterated over)."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return "".join(str(value))


def daemon() -> None:
    """Make the package of this checkout, the one that will be deployed, importable under its name."""
    if "vrrpd" in sys.modules:
        return
    folder = ROOT / "vrrpd"
    spec = importlib.util.spec_from_file_location(
        "vrrpd", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise AnsibleActionFail(f"{folder}: the daemon's package is not there")
    package = importlib.util.module_from_spec(spec)
    sys.modules["vrrpd"] = package
    spec.loader.exec_module(package)


def keyword_table() -> dict[str, Any]:
    """The daemon's keywords, as `vrrpd keywords --json` prints them."""
    daemon()
    from vrrpd.keywords import table

    return table()


def judged(made: Plan, nodes: dict[str, dict[str, Any]]) -> list[str]:
    """What the daemon would not run, with the hosts and the variable behind the line; in its own words.

    What it would run tells each host's plan the names of the virtual interfaces that it makes there.
    """
    daemon()
    from vrrpd.model.load import load

    found: list[str] = []
    for host, mine in made.hosts.items():
        variables = [nodes[host].get(name) or {} for name in ("vrrpd_instances", "vrrpd_overrides", "vrrpd_blocks")]
        behind = [""]  # the first line is a comment
        for block in mine["blocks"]:
            behind += ["", *places([block])]
        loaded = load(host, text=filled(text_of(mine["blocks"]), secrets_of(*variables)), node_name=host)
        instances = loaded.model.vrrp_instances if loaded.model else ()
        mine["devices"] = sorted(device.name for instance in instances for device in instance.devices)
        for said in loaded.diagnostics:
            if said.severity != "error":  # what else there is depends on the node, and is said there
                continue
            place = behind[said.line - 1] if said.file == host and 0 < said.line <= len(behind) else ""
            words = said.message.removeprefix(f"{place.rpartition('.')[2]}: ") + (
                f" ({said.hint})" if said.hint else ""
            )
            found.append(where_it_stands(": ".join(filter(None, (host, place, words))), nodes))
    return found


def text_of(blocks: list[dict[str, Any]]) -> str:
    """The file that the role's template makes of them."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "roles" / "vrrpd" / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    mine = {"hosts": {"": {"blocks": blocks}}}
    return environment.get_template("vrrpd.conf.j2").render(__vrrpd_plan=mine, inventory_hostname="")


def default_record(task_vars: dict[str, Any]) -> str:
    """A file per inventory in the operator's state folder: no run writes into the inventory itself."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    sources = task_vars.get("ansible_inventory_sources") or ["none"]
    name = "_".join(str(source).strip("/").replace("/", "-") or "none" for source in sources)
    return os.path.join(base, "vrrpd", f"{name[-150:]}.json")


def read_record(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        display.warning(f"{path}: {error}: going on without the record of the last run")
        return {}
    return record if isinstance(record, dict) else {}


def write_record(path: str, record: dict[str, Any]) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1, sort_keys=True)
        os.replace(f"{path}.new", path)
    except OSError as error:
        display.warning(f"{path}: {error}: the next run cannot say what changed, nor who left")


def shown(made: Plan) -> str:
    """The priorities as a table; `was` only where it is not the same."""
    if not made.table:
        return "no instances"
    rows: list[tuple[str, ...]] = [("cluster", "instance", "host", "interface", "priority", "from", "state", "")]
    for row in made.table:
        was = f"was {row['before']}" if row["changed"] else ""
        rows.append(
            (
                *tuple(
                    str(row[key]) for key in ("cluster", "instance", "host", "interface", "priority", "origin", "state")
                ),
                was,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)
