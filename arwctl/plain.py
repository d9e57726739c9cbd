"""Text from outside, made safe to show: no control character reaches a terminal."""

from __future__ import annotations

import unicodedata

KEPT = "\n\t"
# Cc: control; Cf: invisible, among them those that reorder text; Cs: broken halves; Zl, Zp: odd line ends.
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# These join emoji and scripts, and reorder nothing.
JOINERS = "\u200c\u200d"


def plain(text: object) -> str:
    r"""Text with every control character but newline and tab written as \x1b or \u202e."""
    return "".join(_shown(character) for character in str(text))


def one_line(text: object) -> str:
    """The same on one line."""
    return " ".join(plain(text).split())


def _shown(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    hidden = unicodedata.category(character) in HIDDEN and character not in KEPT + JOINERS
    return character.encode("unicode_escape").decode() if hidden else character
