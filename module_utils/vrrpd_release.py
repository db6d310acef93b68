# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases of the daemon on a node: unpack one safely, switch to it, forget old ones.

A release is a folder below /opt/vrrpd/releases that appears whole or not at all (unpacked beside its place, then
renamed). The archive is a tar whose SHA-256 was computed by the controller; still no member is trusted: only plain
files and folders below the release, whatever the archive says about owners and modes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import posixpath
import shutil
import subprocess
import tarfile
import tempfile
import zlib

MAX_SIZE = 64 << 20


class ArchiveError(Exception):
    """The archive is not what the controller said, or wants something that an archive of ours never does."""


def content(path: str, checksum: str) -> bytes:
    """The tar inside the gzip file `path`, if it is the one that was announced."""
    with open(path, "rb") as file:
        packed = file.read(MAX_SIZE + 1)
    inflater = zlib.decompressobj(wbits=31)
    try:
        data = inflater.decompress(packed, MAX_SIZE + 1)
    except zlib.error as error:
        raise ArchiveError(f"{path}: no gzip file: {error}") from error
    if len(data) > MAX_SIZE:
        raise ArchiveError(f"{path}: larger than {MAX_SIZE >> 20} MB")
    found = hashlib.sha256(data).hexdigest()
    if found != checksum:
        raise ArchiveError(f"{path}: checksum {found}, announced was {checksum}: run again")
    return data


def members(data: bytes) -> list[tarfile.TarInfo]:
    """Every member of the tar, after each was found harmless."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            found = archive.getmembers()
    except tarfile.TarError as error:
        raise ArchiveError(f"no tar file: {error}") from error
    for member in found:
        name = member.name
        if not (member.isreg() or member.isdir()):
            raise ArchiveError(f"member '{name}' is neither a file nor a folder: refused")
        if name.startswith("/") or ".." in name.split("/") or posixpath.normpath(name) != name:
            raise ArchiveError(f"member '{name}' points outside the release: refused")
    return found


def unpack(data: bytes, target: str, python: str) -> None:
    """Make `target` from the tar: beside it first, byte-compiled, then in one rename."""
    harmless = members(data)
    parent = os.path.dirname(target)
    os.makedirs(parent, mode=0o755, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=".unpack.", dir=parent)
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in harmless:
                place = os.path.join(folder, member.name)
                if member.isdir():
                    os.makedirs(place, mode=0o755, exist_ok=True)
                    continue
                os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None  # only plain files got here
                with open(place, "xb") as file:
                    shutil.copyfileobj(source, file)
        compile_all(folder, target, python)
        for base, folders, files in os.walk(folder):
            for name in folders:
                os.chmod(os.path.join(base, name), 0o755)
            for name in files:
                os.chmod(os.path.join(base, name), 0o644)
        os.chmod(folder, 0o755)
        if os.path.isdir(target):  # incomplete: left by hands other than ours
            shutil.rmtree(target)
        os.rename(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def compile_all(folder: str, target: str, python: str) -> None:
    """Byte-compile with the interpreter that will run it; tracebacks shall name the final place."""
    command = [python, "-I", "-S", "-m", "compileall", "-q", "-s", folder, "-p", target, folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip()[-500:]
        raise ArchiveError(f"{python} cannot compile the release (vrrpd_python has to be Python 3.9 or newer): {said}")


def point(link: str, release: str) -> None:
    """Make the link `current` lead to releases/RELEASE beside it, in one rename: it never leads nowhere."""
    temporary = f"{link}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(f"releases/{release}", temporary)
    os.replace(temporary, link)


def prune(releases: str, kept: int, needed: list[str]) -> list[str]:
    """Remove all but the `kept` newest releases; never one of `needed` (running, current)."""
    try:
        names = [name for name in os.listdir(releases) if not name.startswith(".")]
    except FileNotFoundError:
        return []
    names.sort(key=lambda name: os.stat(os.path.join(releases, name)).st_mtime, reverse=True)
    surplus = [name for name in names[max(kept, 1) :] if name not in needed]
    for name in surplus:
        shutil.rmtree(os.path.join(releases, name))
    return surplus
