"""Where the tests use a keyword at work: found in the tests, so that a keyword nobody tests is noticed.

Of tests/fsm the settings and commands of the scenarios (test_scenarios.py says what they mean); of the Python beside
it, and of tests/unit, tests/netns and tests/conformance, keyword arguments that are called like a field of the model
(dataclasses, replace()) and text in strings that reads like configuration. A word that several blocks have counts for
the block around it; where the text does not tell, as in a line handed to a helper, for those blocks of which the same
file says the name.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from vrrpd.model.blocks import BLOCKS, TOP

TESTS = Path(__file__).parent.parent
FOLDERS = ("unit", "netns", "conformance", "fsm")
RENDERING = "unit/toolkit"  # writes files and runs nothing
UNKNOWN = "?"
Place = tuple[str, str]  # block and field
SETTINGS = {"vrid": "virtual_router_id", "vips": "virtual_ipaddress", "excluded": "virtual_ipaddress_excluded"}
SETTINGS |= {"peers": "unicast_peer", "src": "unicast_src_ip", "auth": "authentication", "hmac": "auth_hmac"}
SETTINGS |= {"routes": "virtual_routes", "rules": "virtual_rules", "interfaces": "track_interface"}
SETTINGS |= {"scripts": "track_script", "files": "track_file", "processes": "track_process"}
COMMANDS: dict[str, tuple[Place, ...]] = {
    "delays": ((TOP, "interface_up_down_delays"),),
    "garps": (("garp_group", "garp_interval"), ("garp_group", "gna_interval"), ("garp_group", "interfaces")),
    "unknown": (("global_defs", "log_unknown_vrids"),),
    "hold": (("global_defs", "vrrp_startup_delay"),),
    "statics": (("track_group", "group"), (TOP, "track_group")),
    "group": ((TOP, "vrrp_sync_group"), ("vrrp_sync_group", "group")),
}
FIELDS: dict[str, set[str]] = defaultdict(set)  # field -> blocks
for _block in BLOCKS.values():
    for _row in _block.keywords.values():
        if _row.supported:
            FIELDS[_row.field].add(_block.name)
SHAPES = {
    "GlobalDefs": "global_defs",
    "VrrpInstance": "vrrp_instance",
    "VrrpSyncGroup": "vrrp_sync_group",
    "VrrpScript": "vrrp_script",
    "TrackFile": "track_file",
    "TrackProcess": "vrrp_track_process",
    "Authentication": "authentication",
    "AuthHmac": "auth_hmac",
    "quorum": "vrrp_track_process",  # tests/unit/test_trackers.py
}


def at_work() -> dict[Place, set[str]]:
    """For each (block, field) the files that use it, under tests/."""
    found: dict[Place, set[str]] = defaultdict(set)
    for path in sorted((TESTS / "fsm").glob("*.txt")):
        for place in scenario(path.read_text()):
            found[place].add(f"fsm/{path.name}")
    for folder in FOLDERS:
        for path in sorted((TESTS / folder).rglob("*.py")):
            if RENDERING in str(path):
                continue
            for place in program(ast.parse(path.read_text())):
                found[place].add(str(path.relative_to(TESTS)))
    return found


def scenario(text: str) -> Iterator[Place]:
    for block in text.split("\n\n"):
        for line in block.partition("\n----")[0].splitlines():
            if line.startswith("#"):
                continue
            words = line.split()
            if words and words[0] in COMMANDS:
                yield from COMMANDS[words[0]]
            if words and words[0] == "advert":
                continue  # what somebody else sends
            for key in re.findall(r"(?<=\s)([a-z_0-9]+)=", line):
                yield "vrrp_instance", SETTINGS.get(key, key)
                if key == "hmac":  # IDS/ACTIVE/MODE
                    yield from (("auth_hmac", field) for field in ("keys", "active_key", "mode"))


def program(tree: ast.Module) -> Iterator[Place]:
    strings = list(texts(tree))
    named = {name for name in BLOCKS if any(re.search(rf"\b{name}\b", text) for text, _ in strings)} | {"global_defs"}
    if any(home == "vrrp_instance" for _, home in strings):
        named.add("vrrp_instance")
    for text, home in strings:
        for block, keyword in statements(text, home):
            for each in [block] if block != UNKNOWN else sorted(BLOCKS):
                row = BLOCKS[each].keywords.get(keyword)
                if row is not None and row.supported and (block != UNKNOWN or each in named | {TOP}):
                    yield each, row.field
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            shape = SHAPES.get(called(node))
            for argument in node.keywords:
                blocks = FIELDS.get(argument.arg or "", set())
                if shape in blocks:
                    yield shape or "", argument.arg or ""
                elif len(blocks) == 1 and "_" in (argument.arg or ""):
                    yield next(iter(blocks)), argument.arg or ""


def called(node: ast.Call) -> str:
    return getattr(node.func, "id", "") or getattr(node.func, "attr", "")


def texts(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each string with its home: what block its lines are for, if the call says that."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }

    def inside(node: ast.AST, home: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values), home
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value, home
        for child in ast.iter_child_nodes(node):
            below = home
            if isinstance(node, ast.Call) and called(node) == "instance" and child in node.args:
                below = "vrrp_instance"
            if isinstance(child, ast.keyword) and child.arg == "globals":
                below = "global_defs"
            yield from inside(child, below)

    return inside(tree, UNKNOWN)


def statements(text: str, home: str) -> Iterator[Place]:
    """(block, keyword) of what reads like configuration: a keyword begins a line, or stands behind a brace."""
    around = [home]
    for line in re.split(r"[\n;]|(?<=[{}])", text):
        words = line.split()
        if not words:
            continue
        if words[0].startswith("}"):
            if len(around) > 1:
                around.pop()
            continue
        keyword, block = words[0], around[-1]
        if re.fullmatch(r"[a-z0-9_]+", keyword) and block != "list" and fits(keyword, words, block):
            yield block, keyword
        if words[-1].endswith("{"):
            around.append(opened(keyword, block))


def fits(keyword: str, words: list[str], block: str) -> bool:
    """Not a mere word, such as the key of an answer, that a keyword happens to be called like."""
    rows = [
        one.keywords[keyword] for one in BLOCKS.values() if keyword in one.keywords and block in (UNKNOWN, one.name)
    ]
    return any(len(words) > 1 or row.type.form in ("flag", "bool") or row.type.least == 0 for row in rows)


def opened(keyword: str, block: str) -> str:
    for one in BLOCKS.values():
        row = one.keywords.get(keyword)
        if row is not None and block in (UNKNOWN, one.name) and row.type.form == "block":
            return row.type.block
    return "list"
