"""The compiled model says what the model says, to a process that knows neither keywords nor dataclasses."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vrrpd.model.compiled import decode, encode
from vrrpd.model.load import load

GOOD = sorted((Path(__file__).parent / "ok").glob("*.conf"))


def plain(value: Any) -> Any:
    """Dataclasses and named tuples as dictionaries, all the way down."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "_fields"):
        return {name: plain(getattr(value, name)) for name in value._fields}
    return [plain(each) for each in value] if isinstance(value, tuple) else (type(value), value)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_every_field_comes_back(path: Path) -> None:
    model = load(str(path), lenient=True).model
    assert model is not None
    assert plain(decode(encode(model))) == plain(model)


def test_a_reader_of_the_bytes_needs_no_reader_of_configurations(tmp_path: Path) -> None:
    model = load(str(GOOD[0]), lenient=True).model
    assert model is not None
    (tmp_path / "model").write_bytes(encode(model))
    code = "import sys\nfrom vrrpd.model.compiled import decode\n"
    code += "print(decode(open(sys.argv[1], 'rb').read()).path)\nprint(*sys.modules)"
    command = [sys.executable, "-S", "-c", code, str(tmp_path / "model")]
    path, modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert path == str(GOOD[0])
    assert not {"dataclasses", "inspect", "pickle", "vrrpd.conf.schema", "vrrpd.model.vrrp"} & set(modules.split())


def test_no_password_is_shown() -> None:
    text = """vrrp_instance A {
        interface eth0
        virtual_router_id 1
        authentication {
            auth_type PASS
            auth_pass secret12
        }
        virtual_ipaddress {
            10.0.0.1
        }
    }
    """
    model = load("test", text=text).model
    assert model is not None
    back = decode(encode(model))
    assert back.vrrp_instances[0].authentication.auth_pass == b"secret12"  # type: ignore[union-attr]
    assert "secret12" not in repr(back)
    assert "secret12" not in repr(back.vrrp_instances[0])
