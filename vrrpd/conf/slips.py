"""What editors, web pages and other languages leave behind in a word, said as a hint to whatever else is wrong with it.

Only a word that has been found fault with is looked at: where such a sign is meant, nothing is said.
"""

from __future__ import annotations

import re

INVISIBLE = {
    "\ufeff": "an invisible byte order mark (U+FEFF) stands here: save the file as UTF-8 without it",
    "\xa0": "the blank here is a no-break space (U+00A0), as web pages have it: type a plain one",
    "\u200b": "an invisible character (U+200B) stands here: delete the word and type it again",
    "\u200e": "an invisible character (U+200E) stands here: delete the word and type it again",
    "\u202f": "the blank here is a narrow no-break space (U+202F): type a plain one",
}
QUOTES = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212"
MARKERS = ("<<<<<<<", "=======", ">>>>>>>")
COMMENTS = ("//", "/*", "*/", "--", ";;", ";")


def slip(word: str, line: str) -> str:
    """A hint for the words at fault in this line, '' if there is nothing odd about them."""
    for character, hint in INVISIBLE.items():
        if character in word:
            return hint
    if word[:1] == "`" or any(character in word for character in QUOTES):
        return 'this is no quote of the language: write "'
    if any(character in word for character in DASHES):
        return "this is a typographic dash: write -"
    if word.startswith(MARKERS):
        return "a merge left its marks here: keep one of the two sides"
    if word in COMMENTS or word.startswith(("//", "/*")):
        return "comments begin with # or !"
    if re.search(r"\{\{|\{%", line) and word[:1] in "{}":
        return "a template that was not filled in?"
    first = line.split(None, 1)[0] if line.strip() else ""
    if word == first and re.fullmatch(r"\w+(:|=.*)", word):
        name, sign = re.split(r"(?=[:=])", word, maxsplit=1)
        return f"without '{sign[0]}': {name} ..."
    if word in (":", "="):
        return f"without '{word}': {first} ..."
    if len(word) > 1 and word[-1] in ";,":
        return f"without '{word[-1]}': blanks separate values, and a line ends by itself"
    return ""
