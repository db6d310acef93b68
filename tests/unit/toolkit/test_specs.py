"""Defaults and argument specs name the same variables, with the same values; the example inventory is sound."""

from __future__ import annotations

from typing import Any


def test_defaults_and_specs_are_the_same(defaults: dict[str, Any], specs: dict[str, Any]) -> None:
    assert set(defaults) == set(specs)
    # null stands for "not said": then the spec has no default.
    assert {name: value for name, value in defaults.items() if value is not None} == {
        name: spec["default"] for name, spec in specs.items() if "default" in spec
    }


def test_every_variable_is_typed_and_described(specs: dict[str, Any]) -> None:
    assert [name for name, spec in specs.items() if not spec.get("type") or not spec.get("description")] == []
