"""Fuzzing with atheris: each target for some seconds, from the corpus kept beside this file.

    python tests/fuzz/run.py [--seconds 15] [--only packet] [--keep]
    python tests/fuzz/packet.py FILE       replays one input

A finding ends the run, and the input is left in .lab/fuzz/. --keep merges what was found new into the corpus, only
inputs that reach code which no other does. An input may take ten seconds and a process one gigabyte: both are
findings, and far more than anything here needs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / ".lab/fuzz"
TARGETS = {"packet": 700, "configuration": 4096}  # name and longest input
LIMITS = ["-timeout=10", "-rss_limit_mb=1024"]


def dictionary(path: Path) -> str:
    """The words of a configuration, so that they need not be found by chance."""
    sys.path.insert(0, str(ROOT))
    from vrrpd.model.blocks import BLOCKS

    words = {name for block in BLOCKS.values() for name in block.keywords} | set(BLOCKS)
    words |= {
        "include ",
        "includea ",
        "@x ",
        "@^x ",
        "~SEQ(",
        "~SEQx(",
        "~LST(",
        "${_RANDOM 1 2}",
        "${_PWD}",
        "$A=\\\\",
    }
    words |= {"192.0.2.1/24", "fe80::1/64", "dev ", "label ", "brd +", "scope ", "-nodad", "no_track", "min_ttl "}
    quoted = (word.replace('"', '\\"') for word in sorted(words) if word)
    path.write_text("".join(f'"{word}"\n' for word in quoted), encoding="utf-8")
    return f"-dict={path}"


def fuzz(name: str, seconds: int, keep: bool) -> bool:
    found, corpus = WORK / name, HERE / "corpus" / name
    shutil.rmtree(found, ignore_errors=True)
    found.mkdir(parents=True)
    target = [sys.executable, str(HERE / f"{name}.py")]
    limits = [*LIMITS, f"-max_len={TARGETS[name]}", f"-artifact_prefix={WORK}/{name}-"]
    if name == "configuration":
        limits.append(dictionary(WORK / "words"))
    began = time.monotonic()
    print(f"fuzz {name}: {seconds} s, {len(list(corpus.iterdir()))} inputs in the corpus", flush=True)
    run = subprocess.run(
        [*target, f"-max_total_time={seconds}", "-print_final_stats=1", *limits, str(found), str(corpus)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    executed = re.search(r"number_of_executed_units:\s*(\d+)", run.stdout)
    if run.returncode or not executed:
        print(run.stdout[-6000:])
        print(f"fuzz {name}: FAILED", flush=True)
        return False
    print(
        f"fuzz {name}: {executed.group(1)} inputs in {time.monotonic() - began:.0f} s, nothing found, "
        f"{len(list(found.iterdir()))} reached something new",
        flush=True,
    )
    if keep:
        merged = WORK / f"{name}-merged"
        shutil.rmtree(merged, ignore_errors=True)
        merged.mkdir()
        # Merging, libFuzzer starts the target anew by its name: it has to find this Python.
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = [*target[1:], "-merge=1", "-use_counters=0", *limits, str(merged), str(corpus), str(found)]
        subprocess.run([sys.executable, *command], check=True, capture_output=True, env=env)
        shutil.rmtree(corpus)
        shutil.move(str(merged), corpus)
        print(f"fuzz {name}: {len(list(corpus.iterdir()))} inputs in the corpus now", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzzes the packet decoder and the configuration reader.")
    parser.add_argument("--seconds", type=int, default=15, help="for each target")
    parser.add_argument("--only", choices=sorted(TARGETS), help="only this target")
    parser.add_argument("--keep", action="store_true", help="merge what was found new into the corpus")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    results = [fuzz(name, options.seconds, options.keep) for name in TARGETS if options.only in (None, name)]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
