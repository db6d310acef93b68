"""The reader's cost, as a ratio to what no Python program could avoid: splitting the same lines."""

from __future__ import annotations

import time

from vrrpd.model.load import load

INSTANCE = """vrrp_instance VI_{n} {{
    state BACKUP
    interface eth{interface}
    virtual_router_id {vrid}
    priority 100
    virtual_ipaddress {{
        10.{interface}.0.{vrid}/24
    }}
}}
"""
RATIO = 60  # measured: 25 to 32 on 3.9, 3.11 and 3.13; a lexer that looks at every character is beyond 100


def best_of(runs: int, function: object) -> float:
    assert callable(function)
    times = []
    for _ in range(runs):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def test_28_000_lines() -> None:
    text = "".join(INSTANCE.format(n=n, interface=n // 250, vrid=n % 250 + 1) for n in range(3200))
    assert text.count("\n") == 28800

    def read() -> None:
        loaded = load("big.conf", text=text, node_name="x")
        assert loaded.model
        assert len(loaded.model.vrrp_instances) == 3200

    def split() -> None:
        assert len([line.split() for line in text.split("\n")]) == 28801

    ratio = best_of(3, read) / best_of(5, split)
    print(f"reader / split: {ratio:.1f}")
    assert ratio < RATIO
