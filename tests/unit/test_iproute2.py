"""Names of iproute2: which file wins, and which number, where there are several."""

from __future__ import annotations

from pathlib import Path

import pytest

from vrrpd.conf.types import Invalid
from vrrpd.model.iproute2 import Names


@pytest.fixture
def names(tmp_path: Path) -> Names:
    usr, etc = tmp_path / "usr", tmp_path / "etc"
    for folder in (usr, etc / "rt_protos.d"):
        folder.mkdir(parents=True)
    (usr / "rt_tables").write_text("# names\n100 blue\n0x65 green # hexadecimal\nnonsense\n")
    (etc / "rt_tables").write_text("100 red\n")
    (etc / "rt_protos.d/frr.conf").write_text("196 static\n186 bgp\n")
    (etc / "rt_protos.d/README").write_text("7 nobody\n")
    return Names((str(usr), str(etc)), lambda: {"vrf-a": 1000})


def test_names_and_numbers(names: Names) -> None:
    def table(word: str) -> int:
        return names.number("rt_tables", word, 0, 0xFFFFFFFF, "table")

    assert [table(word) for word in ("main", "green", "red", "7", "0x10")] == [254, 101, 100, 7, 16]
    assert [names.number("rt_protos", word, 0, 255, "protocol") for word in ("static", "bgp", "keepalived")] == [
        4,
        186,
        18,
    ]
    assert names.vrf("vrf-a", 0) == 1000


@pytest.mark.parametrize("word", ["blue", "nobody", "-1", "4294967296", "0x", "1.5", "٣"])
def test_what_is_neither(names: Names, word: str) -> None:
    with pytest.raises(Invalid):
        names.number("rt_tables", word, 0, 0xFFFFFFFF, "table")
