# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which nodes understand each other's auth_hmac: the plan says what each sends and accepts, the node compares."""

from __future__ import annotations

from typing import Any

UNSIGNED = ""  # beside keys: an advert without HMAC
NO_KEYS = {"sends": UNSIGNED, "accepts": [UNSIGNED]}


def interoperable(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """May one node have the one and another node the other?"""
    return one["sends"] in other["accepts"] and other["sends"] in one["accepts"]
