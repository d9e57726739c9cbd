"""Where each key stands in the text of a document that was parsed already."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from wire.strict import Path


class Spot(NamedTuple):
    line: int
    column: int = 0
    """0: not said."""


Lines = Mapping[Path, Spot]

MAX_DEPTH = 16
"""Of the paths that are kept: deeper ones would take memory by the square, and the place above them will do."""
NOWHERE = Spot(0)

_JSON = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_TOML = re.compile(
    r'#[^\n]*|"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[{}\[\],=.\n]|[^\s{}\[\],=.#"\']+',
    re.DOTALL,
)

# A line that stands for itself: empty, a header of bare keys, or one bare key with a value that ends there too. Nearly
# all lines are such, and their words need not be told apart.
_TOML_LINE = re.compile(
    r"""[ \t]*(?:
        (?P<opening>\[\[?)(?P<names>[\w.-]+)\]\]?
      | (?P<key>[\w-]+)[ \t]*=[ \t]*(?P<bracket>[\[{])?
        (?:[^"'\[\]{}\#\n]|"(?!"")[^"\\\n]*")*
        (?(bracket)[\]}])
    )?[ \t\r]*(?:\#[^\n]*)?(?:\n|\Z)""",
    re.VERBOSE,
)

_BETWEEN_KEYS = frozenset("{}[],=\n")


def line_of(lines: Lines, path: Path) -> int:
    """Of the key, or of the nearest thing around it; 0 when nothing is known."""
    return spot_of(lines, path).line


def spot_of(lines: Lines, path: Path) -> Spot:
    """As `line_of`, with the column where the document has several keys on a line."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, NOWHERE)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    spot: Spot


def _tokens(pattern: re.Pattern[str], text: str) -> Iterator[_Token]:
    line, start, end = 1, 0, 0
    for match in pattern.finditer(text):
        if breaks := text.count("\n", end, match.start()):
            line, start = line + breaks, text.rindex("\n", end, match.start()) + 1
        yield _Token(match.group(), Spot(line, match.start() - start + 1))
        if breaks := match.group().count("\n"):
            line, start = line + breaks, text.rindex("\n", match.start(), match.end()) + 1
        end = match.end()


def json_lines(text: str) -> Lines:
    """Where every key and item of a valid JSON document stands."""
    found: dict[Path, Spot] = {}
    for path, spot, is_key in _json_places(text):
        if is_key:
            found[path] = spot
        else:
            found.setdefault(path, spot)
    return found


def json_repeat(text: str) -> Spot:
    """Where a key stands for the second time in its table; the text before it is valid."""
    seen: set[Path] = set()
    for path, spot, is_key in _json_places(text):
        if is_key and path in seen:
            return spot
        if is_key:
            seen.add(path)
    return NOWHERE


def _json_places(text: str) -> Iterator[tuple[Path, Spot, bool]]:
    """Each key, and each value and item, down to MAX_DEPTH."""
    path: list[str | int] = []
    last = _Token("", Spot(1))
    for token in _tokens(_JSON, text):
        near = len(path) <= MAX_DEPTH
        match token.text:
            case "{" | "[":
                if near:
                    yield tuple(path), token.spot, False
                path.append("" if token.text == "{" else 0)
            case "}" | "]":
                path.pop()
            case ":":
                path[-1] = _said(last.text)
                if near:
                    yield tuple(path), last.spot, True
            case "," if isinstance(path[-1], int):
                path[-1] += 1
            case _:
                if near:
                    yield tuple(path), token.spot, False
        last = token


def _said(text: str) -> str:
    """The key that a JSON string stands for."""
    said: str = json.loads(text) if "\\" in text else text[1:-1]
    return said


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in ('"', "'") else text


@dataclass(slots=True)
class _Toml:
    found: dict[Path, Spot] = field(default_factory=dict)
    counts: dict[Path, int] = field(default_factory=dict)
    """Entries so far of each array of tables."""
    table: Path = ()

    def header(self, keys: list[str], line: int, is_entry: bool) -> None:
        path = self._resolved(keys[:-1])
        name = (*path, keys[-1])
        if is_entry:
            self.counts[name] = self.counts.get(name, -1) + 1
        self.table = (*name, self.counts[name]) if name in self.counts else name
        self.found.setdefault(name, Spot(line))
        self.found.setdefault(self.table, Spot(line))

    def key(self, keys: list[str], line: int) -> None:
        for length in range(1, min(len(keys), MAX_DEPTH) + 1):
            self.found.setdefault((*self.table, *keys[:length]), Spot(line))

    def _resolved(self, keys: list[str]) -> Path:
        path: Path = ()
        for key in keys:
            path = (*path, key)
            path = (*path, self.counts[path]) if path in self.counts else path
        return path


def toml_lines(text: str) -> Lines:
    """Lines of every table and key of a valid TOML document; inside inline values, of the key before them."""
    seen = _Toml()
    line, at = 1, 0
    while at < len(text):
        plain = _TOML_LINE.match(text, at)
        head, end = (_plain_head(plain), plain.end()) if plain is not None else _head(text, at)
        if head.opening:
            seen.header(head.keys, line, is_entry=head.opening == "[[")
        elif head.keys:
            seen.key(head.keys, line)
        line += text.count("\n", at, end)
        at = end
    return seen.found


def toml_long_key(text: str, most: int) -> Spot:
    """Where a key of more than `most` parts stands, in text that need not be valid; parsers take such by the square."""
    if all(line.count(".") < most for line in text.split("\n")):
        return NOWHERE
    dots = 0
    for token in _tokens(_TOML, text):
        dots = 0 if token.text in _BETWEEN_KEYS else dots + (token.text == ".")
        if dots >= most:
            return token.spot
    return NOWHERE


class _Head(NamedTuple):
    """What a statement begins with."""

    opening: str
    """"[" or "[[" of a header."""
    keys: list[str]


def _plain_head(line: re.Match[str]) -> _Head:
    if line["opening"]:
        return _Head(line["opening"], line["names"].split("."))
    return _Head("", [line["key"]] if line["key"] else [])


def _head(text: str, at: int) -> tuple[_Head, int]:
    """Of the statement that begins here, and where the next one does."""
    words, end = _statement(text, at)
    if words[0] == "[":
        return _Head("[[" if words[1] == "[" else "[", [_unquoted(w) for w in words if w not in ("[", "]", ".")]), end
    return _Head("", [_unquoted(word) for word in words[: words.index("=")] if word != "."]), end


def _statement(text: str, at: int) -> tuple[list[str], int]:
    """Its words, and where it ends; a value goes on over newlines while a bracket is open."""
    words: list[str] = []
    depth = 0
    for match in _TOML.finditer(text, at):
        word = match.group()
        depth += (word in ("[", "{")) - (word in ("]", "}"))
        if word == "\n" and depth == 0:
            return words, match.end()
        if word != "\n" and not word.startswith("#"):
            words.append(word)
    return words, len(text)
