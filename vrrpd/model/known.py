"""What keepalived knows and we do not support yet, one row a keyword.

The verdict is `error` where the instance would not do what its file says (an address in the wrong place, a check
that never fails it, traffic that should be dropped), `warning` where it is sound without.
"""

from __future__ import annotations

from vrrpd.conf.schema import Block, Keyword, known
from vrrpd.conf.types import Boolean, Flag, Nested, Words

ERROR, WARNING = "error", "warning"
VALUE, LIST, FLAG, BOOL = Words(), Words("list"), Flag(True), Boolean()


def _rows(*rows: tuple[object, ...]) -> list[Keyword]:
    """(verdict, form, doc, name name ...) to keywords."""
    return [
        known(name, form, str(verdict), str(doc))  # type: ignore[arg-type]
        for verdict, form, doc, names in rows
        for name in str(names).split()
    ]


BALANCING = "load balancing comes later"

UNSUPPORTED: dict[str, list[Keyword]] = {
    "": _rows(
        (WARNING, Nested("virtual_server", True), "load balancing is left out", "virtual_server"),
        (WARNING, Nested("virtual_server_group", True), "load balancing is left out", "virtual_server_group"),
        (ERROR, Nested("vrrp_sync_group", True), "its instances would move one by one", "vrrp_sync_group"),
    ),
    "global_defs": [],
    "vrrp_instance": [],
}
UNSUPPORTED_BLOCKS: list[Block] = []
