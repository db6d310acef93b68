"""Options and paths that the test folders share."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="rewrite the expectations of golden files; review the diff")


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Golden files are to be written instead of compared."""
    return bool(request.config.getoption("--rewrite"))
