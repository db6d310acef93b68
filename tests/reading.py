"""What must hold of whatever the reader says of a text, for the tests that make texts up (property/, fuzz/)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vrrpd.check_config import exit_status
from vrrpd.model.compiled import decode, encode

if TYPE_CHECKING:
    from vrrpd.model.load import Loaded


def judge(loaded: Loaded, file: str, text: str) -> None:
    """A model or diagnostics, which can be shown and point into the text of `file`; a model survives its journey."""
    status = exit_status(loaded)
    assert status in (0, 4, 5, 6)
    assert (loaded.model is None) == bool(status)
    lines = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    for diagnostic in loaded.diagnostics:
        diagnostic.render().encode()
        if diagnostic.file == file and diagnostic.line:
            assert 1 <= diagnostic.line <= len(lines)
            assert diagnostic.column >= 1
            assert diagnostic.length >= 1
    if loaded.model:
        back = decode(encode(loaded.model))
        assert decode(encode(back)) == back
        assert [one.name for one in back.vrrp_instances] == [one.name for one in loaded.model.vrrp_instances]
        for instance in loaded.model.vrrp_instances:
            assert instance.interface
            assert 1 <= instance.virtual_router_id <= 255
            assert 1 <= instance.priority <= 255
            assert {len(item.address) for item in instance.virtual_ipaddress} <= {4 if instance.family == 2 else 16}
