"""The two address families by their Linux numbers: a leaf, so that nobody imports the model for them."""

from __future__ import annotations

AF_INET, AF_INET6 = 2, 10
