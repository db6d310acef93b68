"""`vrrpd keywords`: every keyword of keepalived.conf with its type, bounds, default and whether we support it.

The JSON form is what the plan of the toolkit checks an inventory with and writes files from, the Markdown form is the
table of docs/compatibility.md. All of them walk the tables of model/.
"""

from __future__ import annotations

import argparse
import json
import socket
import textwrap
from typing import Any

from vrrpd.conf.schema import EACH, Block, Keyword
from vrrpd.model.blocks import BLOCKS

TOP_NAME = "top"  # what stands outside every block
STATUS = {"warning": "accepted, no effect", "error": "not supported"}  # by verdict


def main(args: argparse.Namespace) -> int:
    """Print the tables; `args.format` is text, json or markdown."""
    if args.format == "json":
        print(json.dumps(table(), indent=1))
        return 0
    if args.format == "markdown":
        print(markdown(), end="")
        return 0
    for block in BLOCKS.values():
        print(f"{block.name or TOP_NAME}: {block.doc}")
        for row in block.keywords.values():
            print(_line(row))
        print()
    return 0


def table() -> dict[str, Any]:
    """{"blocks": {block: {"doc", "keywords": {name: {...}}}}}; absent where a fact does not apply."""
    return {"blocks": {block.name or TOP_NAME: _block(block) for block in BLOCKS.values()}}


def _block(block: Block) -> dict[str, Any]:
    return {"doc": block.doc, "keywords": {row.name: _keyword(row) for row in block.keywords.values()}}


def _keyword(row: Keyword) -> dict[str, Any]:
    kind = row.type
    found: dict[str, Any] = {
        "form": kind.form,
        "type": kind.type,
        "doc": row.doc,
        "status": "supported" if row.supported else "unsupported",
        "min": kind.minimum,
        "max": kind.maximum,
        "choices": list(kind.choices),
        "unit": row.unit,
        "inherits": row.inherits,
        "block": kind.block,
        "since": row.since if row.supported else "",
        "max_length": getattr(kind, "limit", None),
    }
    found = {name: value for name, value in found.items() if value not in (None, "", [])}
    if (
        row.supported
        and kind.form != "flag"
        and not row.secret
        and (default := _plain(row.default)) not in (None, "", ())
    ):
        found["default"] = default
    if row.secret:
        found["secret"] = True
    if kind.named:
        found["named"] = True
    if kind.form == "value" and not kind.least:
        found["optional"] = True  # its argument is
    if row.repeated == EACH:
        found["each"] = True
    if row.ours:
        found["extension"] = True
    if not row.supported:
        found["verdict"] = row.verdict
    return found


def markdown() -> str:
    """One row a keyword. What stands in a block that is not supported is not told apart: one row says it for all."""
    lines = ["| Keyword | in | Status | Since | Note |", "|---|---|---|---|---|"]
    blocks = [BLOCKS[""]]
    for block in blocks:
        for row in block.keywords.values():
            inner = BLOCKS.get(row.type.block)
            if row.supported and inner and inner not in blocks:
                blocks.append(inner)
            status = "supported" if row.supported else STATUS[row.verdict]
            note = f"{row.doc} (vrrpd only)" if row.ours else row.doc
            since = row.since if row.supported else ""
            cells = (f"`{row.name}`", f"`{block.name}`" if block.name else "", status, since, note)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and value:  # a weight without reverse, a user without a group
        return value[0]
    if isinstance(value, bytes):
        return socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)
    return value


def _line(row: Keyword) -> str:
    known = _keyword(row)
    facts = [known["type"]]
    if "min" in known:
        facts.append(f"{known['min']:g}..{known['max']:g}")
    if known.get("choices") and known["form"] != "bool":
        facts.append("|".join(known["choices"]))
    if "default" in known:
        facts.append(f"default {known['default']}")
    if "inherits" in known:
        facts.append(f"from {known['inherits']}")
    if row.ours:
        facts.append("keepalived does not know it")
    if not row.supported:
        facts.append("NOT SUPPORTED YET")
    text = f"{row.doc} [{', '.join(facts)}]"
    return textwrap.fill(text, 118, initial_indent=f"  {row.name:<32} ", subsequent_indent=" " * 35)
