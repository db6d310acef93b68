"""Archives: what is built is reproducible, what is unpacked is harmless."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
from ansible.module_utils.vrrpd_release import ArchiveError, content, members, prune, unpack


def tar(*added: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for info in added:
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    return packed.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (member("../escape.py"), "member '../escape.py' points outside the release: refused"),
        (member("vrrpd/../../escape.py"), "member 'vrrpd/../../escape.py' points outside the release: refused"),
        (member("/etc/passwd"), "member '/etc/passwd' points outside the release: refused"),
        (member("./vrrpd.py"), "member './vrrpd.py' points outside the release: refused"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), "member 'link' is neither a file nor a folder: refused"),
        (member("hard", tarfile.LNKTYPE, "/etc/passwd"), "member 'hard' is neither a file nor a folder: refused"),
        (member("null", tarfile.CHRTYPE), "member 'null' is neither a file nor a folder: refused"),
        (member("disk", tarfile.BLKTYPE), "member 'disk' is neither a file nor a folder: refused"),
        (member("pipe", tarfile.FIFOTYPE), "member 'pipe' is neither a file nor a folder: refused"),
    ],
    ids=lambda value: value.name if isinstance(value, tarfile.TarInfo) else "",
)
def test_a_harmful_member_is_refused_and_nothing_is_unpacked(bad: tarfile.TarInfo, text: str, tmp_path: Path) -> None:
    target = tmp_path / "releases" / "1"
    with pytest.raises(ArchiveError) as refused:
        unpack(tar(member("good.py"), bad), str(target), sys.executable)
    assert str(refused.value) == text
    assert list(tmp_path.rglob("*")) == []


def test_modes_of_the_archive_do_not_count(tmp_path: Path) -> None:
    target = tmp_path / "releases" / "1"
    umask = os.umask(0o002)
    try:
        unpack(tar(member("vrrpd/a.py", mode=0o6777)), str(target), sys.executable)
    finally:
        os.umask(umask)
    assert {path.name: oct(path.stat().st_mode & 0o7777) for path in [target, *target.rglob("*")]} == {
        "1": "0o755",
        "vrrpd": "0o755",
        "a.py": "0o644",
        "__pycache__": "0o755",
        f"a.{sys.implementation.cache_tag}.pyc": "0o644",
    }


def test_what_does_not_compile_is_not_installed(tmp_path: Path) -> None:
    broken = tarfile.TarInfo("vrrpd/b.py")
    broken.size = 1
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(broken, io.BytesIO(b"("))
    with pytest.raises(ArchiveError, match=r"cannot compile the release .vrrpd_python has to be Python 3.9 or newer."):
        unpack(packed.getvalue(), str(tmp_path / "1"), sys.executable)
    assert list(tmp_path.iterdir()) == []


def test_the_content_is_what_was_announced(tmp_path: Path) -> None:
    data = tar(member("a.py"))
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(data))
    checksum = hashlib.sha256(data).hexdigest()
    assert content(str(path), checksum) == data
    with pytest.raises(ArchiveError, match=f"checksum {checksum}, announced was 00: run again"):
        content(str(path), "00")
    path.write_bytes(b"no gzip")
    with pytest.raises(ArchiveError, match="no gzip file"):
        content(str(path), checksum)


def test_no_tar() -> None:
    with pytest.raises(ArchiveError, match="no tar file"):
        members(b"x" * 1024)


def test_pruning_keeps_the_newest_and_what_is_needed(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "second", "third", "old", "running"]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert prune(str(tmp_path), 2, ["new", "running"]) == ["third", "old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "running", "second"]


def test_the_archive_is_the_same_bytes_each_time_and_holds_what_a_node_needs(deploy_action: ModuleType) -> None:
    data = deploy_action.archive()
    assert data == deploy_action.archive()
    found = {info.name: info for info in members(data)}
    assert {"__main__.py", "LICENSE", "vrrpd/__init__.py", "vrrpd/cli.py", "vrrpd/vrrpd.service"} <= set(found)
    assert {"tabulate/__init__.py", "tabulate/version.py"} <= set(found)
    assert list(found) == sorted(found)
    assert {(info.mtime, info.uid, info.gid, info.uname, info.mode) for info in found.values()} == {
        (0, 0, 0, "", 0o644)
    }
