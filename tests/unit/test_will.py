"""The will as data: it survives JSON and a file, and nothing that is not a will comes back from one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vrrpd import will
from vrrpd.vrrp.packet import AdvertSpec, Seal

VIP, SOURCE, GROUP = bytes([10, 0, 0, 100]), bytes([10, 0, 0, 2]), bytes([224, 0, 0, 18])
VIP6, SOURCE6 = b"\xfe\x80" + bytes(13) + b"\x01", b"\xfe\x80" + bytes(13) + b"\x02"
GROUP6 = b"\xff\x02" + bytes(13) + b"\x12"

V4 = will.Record(
    "VI_1#1",
    2,
    "eth0",
    (will.Held(VIP, 24, 2, "eth0"), will.Held(bytes([10, 1, 0, 1]), 32, 3, "eth1", bytes([10, 1, 0, 2]))),
    AdvertSpec(2, 2, 51, 1.0, (VIP,), SOURCE, (GROUP,), 255, 1, b"secret\0\0"),
)
V6 = will.Record(
    "SIX#2",
    2,
    "eth0",
    (will.Held(VIP6, 64, 2, "eth0"),),
    AdvertSpec(10, 3, 52, 0.1, (VIP6,), SOURCE6, (GROUP6,)),
    laid=(
        will.Laid("route", "198.51.100.0/24 dev eth1", bytes(40), ((36, "eth1", 7),)),
        will.Laid("rule", "x", bytes(12)),
    ),
)


SEALED = V4._replace(advert=V4.advert._replace(auth_type=0, auth_data=b"", seal=Seal(bytes(range(32)), 7, 5, 0.0)))
AH = V4._replace(advert=V4.advert._replace(auth_type=2, auth_data=b"", seal=Seal(b"secret12", base=12345.75)))


@pytest.mark.parametrize("record", [V4, V6, SEALED, AH, V6._replace(group="G1")])
def test_a_record_survives_json(record: will.Record) -> None:
    assert will.decode(json.loads(json.dumps(will.encode(record)))) == record


def broken(**changes: Any) -> dict[str, Any]:
    return {**will.encode(V4), **changes}


def broken_advert(**changes: Any) -> dict[str, Any]:
    return broken(advert={**will.encode(V4)["advert"], **changes})


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        broken(key=7),
        broken(ifindex=-1),
        broken(ifindex="2"),
        broken(ifname="x" * 300),
        broken(addresses=None),
        broken(addresses=[["10.0.0.100", 24]]),
        broken(addresses=[["10.0.0.300", 24, 2, "eth0"]]),
        broken(addresses=[["10.0.0.100", 24, 2, "eth0", "10"]]),
        broken(advert=None),
        broken_advert(seal=[]),
        broken_advert(seal=["zz", 1, 5, 0.0]),
        broken_advert(seal=["00", "1", 5, 0.0]),
        broken_advert(seal=["00", 1, 5, "0"]),
        broken(laid=[["link", "x", "00" * 12, [], 0, False]]),
        broken(laid=[["route", "x", "00" * 11, [], 0, False]]),
        broken(laid=[["route", "x", "00" * 12, [[9, "eth0", 2]], 0, False]]),
        broken(laid=[["route", "x", "zz", [], 0, False]]),
        broken(laid=[["route", "x", "00" * 5000, [], 0, False]]),
        broken(laid=[["route"]]),
        broken_advert(source="zz"),
        broken_advert(destinations=[1]),
        broken_advert(vrid="51"),
        broken_advert(unknown=1),
    ],
)
def test_what_is_not_a_record_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"^record: "):
        will.decode(data)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


def written(folder: str, *records: will.Record) -> Path:
    kept = will.Will(folder)
    kept.update([will.encode(record) for record in records])
    kept.save()
    return Path(folder, will.FILE)


def test_the_file_is_for_root_alone_and_comes_back(folder: str) -> None:
    path = written(folder, V4, V6)
    assert path.stat().st_mode & 0o777 == 0o600
    assert will.left_behind(folder) == [V4, V6]
    assert not path.exists(), "a will is executed once"


def test_withdrawn_records_are_gone_and_an_empty_will_is_no_file(folder: str) -> None:
    kept = will.Will(folder)
    kept.update([will.encode(V4), will.encode(V6)])
    kept.save()
    kept.update([], [V4.key])
    kept.save()
    assert len(lines(folder)) == 4, "a change is added, the file is not written anew"
    assert will.left_behind(folder) == [V6]
    kept.update([will.encode(V4)])
    kept.save()
    assert will.left_behind(folder) == [V6, V4], "written anew where it has vanished"
    kept.update([], [V6.key, V4.key])
    kept.save()
    assert os.listdir(folder) == []


def lines(folder: str) -> list[str]:
    return Path(folder, will.FILE).read_text().splitlines()


def test_a_declaration_replaces_the_one_before(folder: str) -> None:
    kept = will.Will(folder)
    for ifindex in (2, 3):
        kept.update([will.encode(V4._replace(ifindex=ifindex))])
        kept.save()
    assert will.left_behind(folder) == [V4._replace(ifindex=3)]


def test_history_is_bounded(folder: str) -> None:
    kept = will.Will(folder)
    for number in range(3 * will.MAX_HISTORY):
        kept.update([will.encode(V4._replace(ifindex=number)), will.encode(V6)])
        kept.save()
    assert len(lines(folder)) <= will.MAX_HISTORY + 4
    assert will.left_behind(folder) == [V4._replace(ifindex=3 * will.MAX_HISTORY - 1), V6]


def test_a_line_that_was_never_finished_takes_nothing_along(folder: str) -> None:
    path = written(folder, V4, V6)
    path.write_text(path.read_text() + json.dumps(V4.key)[:-3])
    assert will.left_behind(folder) == [V4, V6]


@pytest.mark.parametrize("key", ["boot_id", "netns"])
def test_a_file_of_another_boot_or_namespace_does_nothing(folder: str, key: str) -> None:
    path = written(folder, V4)
    head, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(head), key: 1}), *rest]))
    assert will.left_behind(folder) == []
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"records":[{}]}'])
def test_a_damaged_file_does_nothing(folder: str, content: str) -> None:
    path = written(folder, V4)
    path.write_text(content)
    assert will.left_behind(folder) == []


def test_a_file_that_others_may_write_does_nothing(folder: str) -> None:
    path = written(folder, V4)
    path.chmod(0o620)
    assert will.left_behind(folder) == []


def test_a_sync_group_is_gone_on_with_as_a_whole_or_not_at_all() -> None:
    alone = V4
    one, other, leaving = (V6._replace(key=f"VI_{n}#2.{n}/0", group="G1" if n < 3 else "G2") for n in (1, 2, 3))
    assert will.in_one_piece([alone, one, other], [alone, one, other, leaving]) == [alone, one, other]
    assert will.in_one_piece([alone, one, leaving], [alone, one, other, leaving]) == [alone, leaving]
