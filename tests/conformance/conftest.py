"""Prints the table of conformance cases at the end of a run that included this folder."""

from __future__ import annotations

import re

import pytest
from ledger import CASES, ELSEWHERE, NOT_APPLICABLE, answered_here


class Table:
    """Collects what became of the tests that the ledger names."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition("tests/")[2] or report.nodeid
        plain = name if "test_scenario[" in name else re.sub(r"\[.*", "", name)
        if report.when == "call" or report.outcome != "passed":
            worse = self.outcomes.get(plain) in ("failed", "skipped")
            self.outcomes[plain] = self.outcomes[plain] if worse else report.outcome

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        here = answered_here()
        if not any(name.startswith("conformance/") for name in self.outcomes):
            return
        write = terminalreporter.write_line
        terminalreporter.section("conformance cases")
        totals: dict[str, int] = {}
        for case in CASES:
            if case in NOT_APPLICABLE:
                result, what = "not applicable", NOT_APPLICABLE[case]
            else:
                names = here.get(case) or [ELSEWHERE[case]]
                results = {self.outcomes.get(name, "not in this run") for name in names}
                result = next(r for r in ("failed", "skipped", "not in this run", "passed") if r in results)
                what = ", ".join(re.sub(r".*(::test_scenario\[|::test_)", "", name).rstrip("]") for name in names)
                if case in ELSEWHERE:
                    what = f"tests/{names[0]}"
            totals[result] = totals.get(result, 0) + 1
            write(f"{case}  {result:<15} {what}")
        write("conformance: " + ", ".join(f"{count} {result}" for result, count in sorted(totals.items())))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Table())
