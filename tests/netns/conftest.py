"""Every test of this folder is marked `netns`, needs root, and shows the daemons' logs when it fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lab import Lab, Ours, config, instance

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("netns")


@pytest.fixture(scope="session", autouse=True)
def root() -> None:
    if os.geteuid():
        pytest.fail("the netns tests make network namespaces: run them as root", pytrace=False)


Case = TypeVar("Case")
Result = TypeVar("Result")


def side_by_side(
    request: pytest.FixtureRequest, parameter: str, scenario: Callable[[Case], Result]
) -> dict[Case, Future[Result]]:
    """Run `scenario` at the same time for every value of `parameter` that the module's collected tests have.

    For VRRPv2, whose adverts come once a second: its scenarios wait nearly all of their time. Each runs in a thread
    of its own from making to closing its laboratory (a daemon dies with the *thread* that started it).
    """
    module = request.node.nodeid
    cases = {
        item.callspec.params[parameter]: None
        for item in request.session.items
        if item.nodeid.startswith(module) and hasattr(item, "callspec") and parameter in item.callspec.params
    }
    with ThreadPoolExecutor(len(cases)) as pool:
        return {case: pool.submit(scenario, case) for case in cases}


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two routers, a (10.0.0.2) and b (10.0.0.3), and a client."""
    with Lab("ab") as made:
        yield made


@pytest.fixture
def master(lab: Lab) -> Ours:
    """a is MASTER of 10.0.0.100, b runs as BACKUP, at 0.1 s."""
    daemon = lab["a"].run(Ours, config(instance(priority=200)))
    lab["b"].run(Ours, config(instance(priority=100)))
    lab.wait_owner("10.0.0.100", "a", 10)
    assert isinstance(daemon, Ours)
    lab.wait(daemon.answers, 5, "the control socket answers")
    return daemon


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    report = yield
    made = getattr(item, "funcargs", {}).get("lab")
    if report.when == "call" and report.failed and isinstance(made, Lab):
        report.sections.append(("the laboratory", made.report()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the plays of test_side_by_side.py have shown."""
    module = sys.modules.get("test_side_by_side")
    if module is None or not module.REPORT:
        return
    terminalreporter.section("side by side: keepalived and vrrpd")
    for line in module.report():
        terminalreporter.write_line(line)
