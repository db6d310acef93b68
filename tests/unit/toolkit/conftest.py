"""The toolkit's code as Ansible sees it: module_utils under ansible.module_utils, the rest by path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.module_utils
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))


def load(folder: str, name: str) -> ModuleType:
    """library/NAME.py or action_plugins/NAME.py; both may be loaded side by side."""
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", ROOT / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def deploy_action() -> ModuleType:
    return load("action_plugins", "vrrpd_deploy")


@pytest.fixture(scope="session")
def plan_action() -> ModuleType:
    return load("action_plugins", "vrrpd_plan")


@pytest.fixture(scope="session")
def keywords() -> dict[str, Any]:
    """The daemon's own keyword table."""
    from vrrpd.keywords import table

    return table()


@pytest.fixture(scope="session")
def specs() -> dict[str, Any]:
    text = (ROOT / "roles/vrrpd/meta/argument_specs.yml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["argument_specs"]
    return {name: spec for entry in entries.values() for name, spec in entry["options"].items()}


@pytest.fixture(scope="session")
def defaults() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "roles/vrrpd/defaults/main.yml").read_text(encoding="utf-8"))
    return found
