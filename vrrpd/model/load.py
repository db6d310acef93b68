"""From a path to a Model, or to every Diagnostic. The parse tree is dropped on return: only the Model stays."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vrrpd.conf.expand import MAX_LINES, Line, Reader
from vrrpd.conf.schema import Binder
from vrrpd.conf.source import Diagnostic, Problems, Source
from vrrpd.conf.tree import Statement, parse

from . import validate
from .blocks import BLOCKS, TOP
from .machine import Interfaces
from .model import Model

__all__ = ["Loaded", "Model", "load"]


class Loaded(NamedTuple):
    """`model` is None when the file is refused. `fatal`: not even --lenient would run it."""

    model: Model | None
    diagnostics: list[Diagnostic]
    fatal: bool = False
    sha256: str = ""
    files: Sequence[tuple[str, bytes]] = ()  # all that were read: path, content


def load(
    path: str,
    *,
    config_id: str | None = None,
    lenient: bool = False,
    text: str | None = None,
    node_name: str | None = None,
    interfaces: Interfaces | None = None,
    mtus: Mapping[str, int] | None = None,
    max_lines: int = MAX_LINES,
) -> Loaded:
    """Read and resolve a configuration. `text` stands for the contents of `path`.

    `config_id` is what @conditions compare with, by default the first label of the node's name. With `interfaces`
    (name -> addresses with prefix lengths) what this machine lacks is a warning. `mtus` bound the length of an advert.
    """
    name = os.uname().nodename if node_name is None else node_name
    problems = Problems(lenient)
    reader = Reader(name.split(".")[0] if config_id is None else config_id, problems, max_lines)
    try:
        lines = (
            reader.read_file(path) if text is None else reader.read_bytes(path, text.encode("utf-8", "surrogateescape"))
        )
    except OSError as error:
        message = f"cannot read the configuration: {error.strerror or error}"
        return Loaded(None, [Diagnostic("error", path, 0, 0, 0, message)], True)
    file = Statement(Line(Source(path, "", [], 0), 0, ""), [TOP])
    binder = Binder(BLOCKS, problems)
    with _uncollected():
        file.block = parse(lines, problems)
        found = validate.resolve(binder, binder.bind(BLOCKS[TOP], file), name, interfaces, mtus or {})
    diagnostics = problems.diagnostics()
    model = None if problems.refused else Model(**found, path=path, sha256=reader.sha256)
    return Loaded(model, diagnostics, problems.fatal, reader.sha256, reader.files)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: all that is made is needed, and looking at it again and again is a third of
    the time that 4000 instances take.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
