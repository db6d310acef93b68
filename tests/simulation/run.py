"""Simulates histories: `python tests/simulation/run.py [--histories 2000] [--first 1]`.

Each seed is one history (history.py), run by engines in a world of its own (world.py) under the rules (rules.py).
What fails is made small, shown as it happened, and can be played again:

    python tests/simulation/run.py --seed 4711           one history, its events and everything that happened
    python tests/simulation/run.py --file FILE           the same of a file
    python tests/simulation/run.py --seed 4711 --keep NAME   as small as it gets, into tests/simulation/seeds/
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from history import History, draw, without  # noqa: E402
from rules import Rules, Violation  # noqa: E402
from world import World  # noqa: E402

CHUNK = 50
SAY = 5.0


def violation(history: History, trace: bool = False) -> tuple[str, list[str]]:
    """What is wrong with it, "" for nothing; and what happened."""
    world = World(history, Rules, trace)
    try:
        world.run()
    except Violation as broken:
        return str(broken), world.trace or []
    except Exception as error:  # a bug of the engine is a finding as well
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"at {world.now:.6f}: {type(error).__name__} in {where.name}: {error}", world.trace or []
    return "", world.trace or []


def kind(message: str) -> str:
    """The message without its numbers and names: of small ones, only those that fail alike are taken."""
    words = message.partition(": ")[2].replace(":", "").split()
    return " ".join(word for word in words if word.isalpha() and not word.isupper())


def smaller(history: History, message: str) -> History:
    """The same failure with as few events as can be."""
    again = True
    while again:
        again = False
        for number in reversed(range(len(history.events))):
            less = without(history, number)
            if kind(violation(less)[0]) == kind(message):
                history, again = less, True
    return history


def chunk(seeds: range) -> list[tuple[int, str]]:
    found = []
    for seed in seeds:
        message, _ = violation(draw(seed))
        if message:
            found.append((seed, message))
    return found


def show(history: History) -> str:
    message, trace = violation(history, trace=True)
    print(history.to_json())
    print("\n".join(trace))
    print(f"\n{message or 'every rule holds'}")
    return message


def report(seed: int, message: str) -> None:
    small = smaller(draw(seed), message)
    said, message = message, violation(small, trace=True)[0]
    assert kind(said) == kind(message), f"not the same again: {said}, {message}"
    _, trace = violation(small, trace=True)
    print(f"\n---- seed {seed}: {message}")
    print(small.to_json())
    print("\n".join(trace[-60:]))
    print(f"---- seed {seed}: {message}")
    print(f"whole: python tests/simulation/run.py --seed {seed}")
    print(f"to keep: python tests/simulation/run.py --seed {seed} --keep NAME\n", flush=True)


def many(first: int, count: int, jobs: int, most: int) -> int:
    """Histories first .. first + count - 1; the number that failed."""
    began = shown = time.monotonic()
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    done = failed = 0
    with multiprocessing.Pool(jobs) as pool:
        for number, found in enumerate(pool.imap(chunk, chunks)):
            done += len(chunks[number])
            for seed, message in found:
                failed += 1
                if failed <= most:
                    report(seed, message)
                else:
                    print(f"seed {seed}: {message}", flush=True)
            if time.monotonic() - shown > SAY:
                shown = time.monotonic()
                print(
                    f"{done} of {count} histories, {failed} failed, {done / (shown - began):.0f} per second", flush=True
                )
    seconds = time.monotonic() - began
    print(f"{count} histories in {seconds:.1f} s, {count / seconds:.0f} per second")
    print(f"{count - failed} passed, {failed} failed")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulates histories of hosts, faults and operators.")
    parser.add_argument("--histories", type=int, default=2000)
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--show", type=int, default=3, help="failures that are made small and shown")
    parser.add_argument("--seed", type=int, help="only this history, with everything that happened")
    parser.add_argument("--file", type=Path, help="the same of a file")
    parser.add_argument("--keep", metavar="NAME", help="with --seed: make it small and keep it in seeds/NAME.json")
    options = parser.parse_args()
    if options.file:
        return int(bool(show(History.from_json(options.file.read_text(encoding="utf-8")))))
    if options.seed is None:
        return int(bool(many(options.first, options.histories, options.jobs, options.show)))
    history = draw(options.seed)
    if options.keep:
        message, _ = violation(history)
        history = smaller(history, message) if message else history
        (HERE / "seeds" / f"{options.keep}.json").write_text(history.to_json(), encoding="utf-8")
    return int(bool(show(history)))


if __name__ == "__main__":
    sys.exit(main())
