"""`vrrpd -t` and `vrrpd keywords` as processes: exit statuses, output for machines, imports, what a machine lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from vrrpd.check_config import exit_status
from vrrpd.conf.schema import Block
from vrrpd.model.blocks import BLOCKS
from vrrpd.model.load import load

ROOT = Path(__file__).parents[2]
SEED = ROOT / "tests" / "seed"
GOOD = """vrrp_instance VI_1 {
    interface nosuch0
    virtual_router_id 51
    authentication {
        auth_type PASS
        auth_pass hushhush
    }
    virtual_ipaddress {
        192.0.2.1/24
    }
%s}
"""


def vrrpd(*arguments: str | Path, code: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(("-c", code) if code else ("-m", "vrrpd")), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["master.conf", "backup.conf"])
def test_seed_is_valid(name: str) -> None:
    done = vrrpd("-t", "-f", SEED / name)
    assert done.returncode == 0, done.stderr
    assert "valid, 1 instance" in done.stdout


def test_never_imports_pyroute2() -> None:
    code = (
        "import sys; from vrrpd.cli import main; status = main(sys.argv[1:]);"
        "assert not {'pyroute2', 'asyncio', 'ssl'} & set(sys.modules), sys.modules; sys.exit(status)"
    )
    assert vrrpd("-t", "-f", SEED / "master.conf", code=code).returncode == 0


def test_report_for_machines_has_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text(GOOD % "    prioritty 3\n")
    done = vrrpd("-t", "--json", "-f", path)
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, report["exit"], report["ok"], report["instances"]) == (5, 5, False, [])
    error = next(d for d in report["diagnostics"] if d["severity"] == "error")
    assert (error["file"], error["line"], error["column"], error["length"]) == (str(path), 11, 5, 9)
    assert error["hint"] == "did you mean 'priority'?"

    done = vrrpd("-t", "--json", "--lenient", "-f", path)
    report = json.loads(done.stdout)
    assert (done.returncode, report["exit"], report["ok"]) == (0, 0, True)
    (instance,) = report["instances"]
    assert (instance["name"], instance["virtual_ipaddress"]) == ("VI_1", ["192.0.2.1/24"])
    assert len(report["sha256"]) == 64
    assert "hushhush" not in done.stdout + done.stderr


def test_missing_file_cannot_run(tmp_path: Path) -> None:
    done = vrrpd("-t", "-f", tmp_path / "none.conf")
    assert done.returncode == 4
    assert "No such file or directory" in done.stderr


def test_config_id(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text(GOOD % "    @left priority 7\n    @right priority 8\n")
    found = [json.loads(vrrpd("-t", "--json", "-i", side, "-f", path).stdout) for side in ("left", "right")]
    assert [report["instances"][0]["priority"] for report in found] == [7, 8]


INTERFACES = {
    "lo": [(bytes([127, 0, 0, 1]), 8)],
    "eth0": [(bytes([198, 51, 100, 7]), 24), (bytes([192, 0, 2, 1]), 24), (bytes([192, 0, 2, 0]), 32)],
    "eth1": [(bytes.fromhex("fe80" + "00" * 14), 64)],
}


def warnings(text: str) -> list[tuple[int, str]]:
    loaded = load("a.conf", text=text, interfaces=INTERFACES, node_name="node1")
    assert loaded.model
    return [(d.line, d.message) for d in loaded.diagnostics]


def test_missing_interface_is_a_warning() -> None:
    found = load("a.conf", text=GOOD % "", interfaces=INTERFACES, node_name="node1")
    assert exit_status(found) == 0
    (warning,) = found.diagnostics
    assert warning.message == "interface: there is no nosuch0 on this machine"
    assert warning.hint == "here are eth0, eth1"


def test_address_outside_the_subnets_is_a_warning() -> None:
    inside = GOOD.replace("nosuch0", "eth0") % ""
    # 192.0.2.1/24 is our own address, as on a running master: it does not make its own subnet
    message = "virtual_ipaddress: 192.0.2.1/24 is in no subnet of eth0"
    assert warnings(inside) == [(9, message)]
    assert warnings(inside.replace("192.0.2.1/24", "198.51.100.9")) == []
    many = inside.replace("192.0.2.1/24", "\n".join(f"192.0.2.{host}/24" for host in range(1, 101)))
    assert warnings(many) == [(9, "virtual_ipaddress: 192.0.2.1/24 and 99 more are in no subnet of eth0")]
    assert warnings(inside.replace("192.0.2.1/24", "192.0.2.9 dev eth9")) == [
        (9, "virtual_ipaddress: there is no eth9 on this machine")
    ]
    ipv6 = (
        "vrrp_instance V6 {\ninterface eth1\nvirtual_router_id 6\nvirtual_ipaddress {\nfe80::1/64\n2001:db8::1/64\n}\n}"
    )
    assert warnings(ipv6) == [(6, "virtual_ipaddress: 2001:db8::1/64 is in no subnet of eth1")]


def script(folder: Path, mode: int) -> Path:
    path = folder / "notify.sh"
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_script_that_others_may_write() -> None:
    """Needs root, to whom the folders above belong; each component is at fault in turn."""
    with tempfile.TemporaryDirectory(dir="/root", prefix="vrrpd-test-") as name:
        folder = Path(name)
        path = script(folder, 0o755)
        text = GOOD % f"    notify_master {path}\n"
        assert exit_status(load("a.conf", text=text)) == 0

        path.chmod(0o757)
        loaded = load("a.conf", text=text)
        (finding,) = [d for d in loaded.diagnostics if d.severity == "security"]
        assert exit_status(loaded) == 6
        assert loaded.model is None
        assert finding.message == (
            f"notify_master: root would run {path}, but {path} (mode 0757, owner root) may be written by everybody"
        )
        assert finding.hint == f"mend it with: chmod go-w {path}"

        path.chmod(0o755)
        folder.chmod(0o777)
        (finding,) = [d for d in load("a.conf", text=text).diagnostics if d.severity == "security"]
        assert f"but {folder} (mode 0777, owner root)" in finding.message

        folder.chmod(0o700)
        os.chown(path, 1, 1)
        (finding,) = [d for d in load("a.conf", text=text).diagnostics if d.severity == "security"]
        assert f"{path} belongs to daemon (mode 0755)" in finding.message
        assert finding.hint == f"mend it with: chown root {path}"
        other = text.replace(str(path), f"{path} daemon")
        assert exit_status(load("a.conf", text=other)) == 0, "its own user may write it: nothing is gained"
        assert load("a.conf", text=text, lenient=True).model


def test_script_behind_links_that_others_may_turn() -> None:
    """Every hop is judged: the folders of the path as it is written (which is executed), and of what it leads to."""
    with tempfile.TemporaryDirectory(dir="/root", prefix="vrrpd-test-") as name:
        folder = Path(name)
        script(folder, 0o755)
        (folder / "open").mkdir()
        (folder / "first").symlink_to("open/second")
        (folder / "open/second").symlink_to("../notify.sh")
        text = GOOD % f"    notify_master {folder}/first\n"
        assert exit_status(load("a.conf", text=text)) == 0

        (folder / "open").chmod(0o777)
        (finding,) = [d for d in load("a.conf", text=text).diagnostics if d.severity == "security"]
        assert f"root would run {folder}/first, but {folder}/open (mode 0777, owner root)" in finding.message

        (folder / "open").chmod(0o1777)  # as /tmp: each his own
        assert exit_status(load("a.conf", text=text)) == 0
        os.lchown(folder / "open/second", 1, 1)
        (finding,) = [d for d in load("a.conf", text=text).diagnostics if d.severity == "security"]
        assert f"{folder}/open/second belongs to daemon" in finding.message
        assert finding.hint == f"mend it with: chown -h root {folder}/open/second"


def test_keywords_for_machines() -> None:
    done = vrrpd("keywords", "--json")
    assert done.returncode == 0
    blocks = json.loads(done.stdout)["blocks"]
    assert {"top", "global_defs", "vrrp_instance", "authentication", "virtual_server"} <= set(blocks)
    priority = blocks["vrrp_instance"]["keywords"]["priority"]
    assert priority == {
        "form": "value",
        "type": "integer",
        "doc": priority["doc"],
        "status": "supported",
        "since": "0.1.0",
        "min": 1,
        "max": 255,
        "default": 100,
    }
    extensions = {name for block in blocks.values() for name, word in block["keywords"].items() if "extension" in word}
    assert extensions == {"peer_path", "peer_path_key", "restore_deleted", "vip_lifetime"}
    nested = [word for block in blocks.values() for word in block["keywords"].values() if word["form"] == "block"]
    assert {word["block"] for word in nested} <= set(blocks)
    for block in blocks.values():
        for row in block["keywords"].values():
            assert row["form"] in ("flag", "bool", "value", "list", "block")
            inherited = row.get("inherits")
            assert inherited is None or inherited in blocks["global_defs"]["keywords"]


def test_keywords_for_people() -> None:
    done = vrrpd("keywords")
    assert done.returncode == 0
    assert "virtual_router_id" in done.stdout


@pytest.mark.parametrize("block", BLOCKS.values(), ids=lambda block: block.name or "top")
def test_every_keyword_is_documented(block: Block) -> None:
    assert block.doc
    if block.name in ("", "global_defs", "vrrp_instance", "authentication"):
        assert [row.name for row in block.keywords.values() if not row.doc] == []


def test_an_advert_fits_into_a_frame_of_its_interface() -> None:
    addresses = "\n".join(f"10.0.{number >> 8}.{number & 255}" for number in range(1, 257))
    text = f"vrrp_instance A {{\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {{\n{addresses}\n}}\n}}\n"
    found = {}
    for mtu in (0, 9000, 576):
        loaded = load("-", text=text, lenient=True, mtus={"eth0": mtu} if mtu else None)
        assert loaded.model is not None
        (instance,) = loaded.model.vrrp_instances
        found[mtu] = len(instance.virtual_ipaddress), loaded.diagnostics[0].message
        assert len(instance.virtual_ipaddress + instance.virtual_ipaddress_excluded) == 256
    assert found == {
        0: (255, "virtual_ipaddress: 256 addresses, an advert holds 255"),
        9000: (255, "virtual_ipaddress: 256 addresses, an advert holds 255"),
        576: (129, "virtual_ipaddress: 256 addresses, an advert holds 129 on eth0 (mtu 576)"),
    }
