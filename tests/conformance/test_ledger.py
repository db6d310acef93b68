"""Every conformance case is answered by exactly one kind of entry, and what the ledger names exists."""

from __future__ import annotations

import pytest
from ledger import CASES, ELSEWHERE, NOT_APPLICABLE, TESTS, answered_here, functions

HERE = answered_here()


@pytest.mark.parametrize("case", CASES)
def test_the_case_is_answered(case: str) -> None:
    answers = [case in HERE, case in ELSEWHERE, case in NOT_APPLICABLE]
    assert sum(answers) == 1, f"{case}: {answers.count(True)} kinds of answers, wanted exactly one"


@pytest.mark.parametrize("where", ELSEWHERE.values())
def test_the_test_elsewhere_exists(where: str) -> None:
    file, _, name = where.partition("::")
    assert name in functions(TESTS / file), f"{where} is not there"


def test_reasons_are_reasons() -> None:
    assert len(CASES) == 134
    assert not set(ELSEWHERE) - set(CASES)
    assert not set(NOT_APPLICABLE) - set(CASES)
    assert all(len(reason) > 10 for reason in NOT_APPLICABLE.values())
