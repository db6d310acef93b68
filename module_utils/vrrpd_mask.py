# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Secrets: filled into a text on the node, and never shown.

The configuration travels with placeholders and its secrets apart. Everything that is shown again (diffs, the
checker's diagnostics) is made from the text with placeholders, or has the value of each secret keyword masked, so a
diff stays readable and a password such as "eth0" does not black out half of it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

MASK = "********"
# Keywords whose value is a secret, as `vrrpd keywords` has them (a test compares), and how many words stand before it.
SECRETS = {"auth_pass": 0, "peer_path_key": 0, "key": 1}
_SECRET_LINE = re.compile(
    r"(?m)\b(auth_pass|peer_path_key|password|key(?:[ \t]+[0-9]+)?)([ \t]+)(\"(?:[^\"\\\n]|\\.)*\"|[^\s{}]+)"
)
_PLACEHOLDER = re.compile(r"@@[^@\s]+@@")


def filled(text: str, secrets: dict[str, str]) -> str:
    """The text with every placeholder replaced by its secret."""
    return _PLACEHOLDER.sub(lambda found: secrets.get(found.group(), found.group()), text)


def masked(text: str) -> str:
    """A file's text with the value of every secret keyword hidden."""
    return _SECRET_LINE.sub(lambda found: f"{found.group(1)}{found.group(2)}{MASK}", text)


def masked_after(text: str, secrets: dict[str, str], before: str) -> str:
    """The text with placeholders as what follows `before`: a secret that is new in the file is marked as changed."""
    former = {found.group(3) for found in _SECRET_LINE.finditer(before)}

    def shown(found: re.Match[str]) -> str:
        same = not former or secrets.get(found.group()) in former
        return MASK if same else f"{MASK} (changed)"

    after = _PLACEHOLDER.sub(shown, text)
    if after == masked(before) and filled(text, secrets) != before:  # two secrets changed places
        return _PLACEHOLDER.sub(f"{MASK} (changed)", text)
    return after


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def diagnostic_lines(diagnostics: list[dict[str, Any]], text: str, names: dict[str, str]) -> list[str]:
    """The checker's findings as it prints them, with the file's final name and its lines as we may show them.

    `text` is the configuration with placeholders: its lines stand where the checker's lines do. What a diagnostic
    says of a line with a secret may quote the secret: there every quoted word is masked, and the hint left out.
    """
    source = text.splitlines()
    shown: list[str] = []
    for found in diagnostics:
        file = str(found.get("file", ""))
        line = int(found.get("line") or 0)
        ours = source[line - 1] if file in names and 1 <= line <= len(source) else None
        secret = ours is not None and _PLACEHOLDER.search(ours) is not None
        said = str(found.get("message", ""))
        if secret:
            said = re.sub(r"'[^']*'|\"[^\"]*\"", MASK, said)
        lines = [f"{names.get(file, file)}:{line}:{found.get('column', 1)}: {found.get('severity', 'error')}: {said}"]
        excerpt = masked(str(found.get("source_line") or "")) if ours is None else _PLACEHOLDER.sub(MASK, ours)
        if excerpt.strip():
            lines.append(excerpt.strip())
        if found.get("hint") and not secret:
            lines.append(f"hint: {found['hint']}")
        shown.append("\n    ".join(lines))
    return shown
