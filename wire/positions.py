"""Where each key stands in the text of a document that was parsed already."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wire.strict import Path

Lines = Mapping[Path, int]

_JSON = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_TOML = re.compile(
    r'#[^\n]*|"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[{}\[\],=.\n]|[^\s{}\[\],=.#"\']+',
    re.DOTALL,
)


def line_of(lines: Lines, path: Path) -> int:
    """Of the key, or of the nearest thing around it; 0 when nothing is known."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    line: int


def _tokens(pattern: re.Pattern[str], text: str) -> Iterator[_Token]:
    line, end = 1, 0
    for match in pattern.finditer(text):
        line += text.count("\n", end, match.start())
        yield _Token(match.group(), line)
        line += match.group().count("\n")
        end = match.end()


def json_lines(text: str) -> Lines:
    """Lines of every key and item of a valid JSON document."""
    found: dict[Path, int] = {}
    path: list[str | int] = []
    last = _Token("", 1)
    for token in _tokens(_JSON, text):
        match token.text:
            case "{" | "[":
                found.setdefault(tuple(path), token.line)
                path.append("" if token.text == "{" else 0)
            case "}" | "]":
                path.pop()
            case ":":
                path[-1] = _unquoted(last.text)
                found[tuple(path)] = last.line
            case "," if isinstance(path[-1], int):
                path[-1] += 1
            case _:
                found.setdefault(tuple(path), token.line)
        last = token
    return found


def _unquoted(text: str) -> str:
    return text[1:-1] if text[:1] in ('"', "'") else text


@dataclass(slots=True)
class _Toml:
    found: dict[Path, int] = field(default_factory=dict)
    counts: dict[Path, int] = field(default_factory=dict)
    """Entries so far of each array of tables."""
    table: Path = ()

    def header(self, keys: list[str], line: int, is_entry: bool) -> None:
        path = self._resolved(keys[:-1])
        name = (*path, keys[-1])
        if is_entry:
            self.counts[name] = self.counts.get(name, -1) + 1
        self.table = (*name, self.counts[name]) if name in self.counts else name
        self.found.setdefault(name, line)
        self.found.setdefault(self.table, line)

    def key(self, keys: list[str], line: int) -> None:
        for length in range(1, len(keys) + 1):
            self.found.setdefault((*self.table, *keys[:length]), line)

    def _resolved(self, keys: list[str]) -> Path:
        path: Path = ()
        for key in keys:
            path = (*path, key)
            path = (*path, self.counts[path]) if path in self.counts else path
        return path


def toml_lines(text: str) -> Lines:
    """Lines of every table and key of a valid TOML document; inside inline values, of the key before them."""
    seen = _Toml()
    for words in _statements(text):
        texts = [word.text for word in words]
        if texts[0] == "[":
            is_entry = texts[1] == "["
            seen.header([_unquoted(t) for t in texts if t not in ("[", "]", ".")], words[0].line, is_entry)
        else:
            keys = [_unquoted(t) for t in texts[: texts.index("=")] if t != "."]
            seen.key(keys, words[0].line)
    return seen.found


def _statements(text: str) -> Iterator[list[_Token]]:
    """A header or a key with its value, each; a value goes on over newlines while a bracket is open."""
    words: list[_Token] = []
    depth = 0
    for token in _tokens(_TOML, text):
        depth += (token.text in ("[", "{")) - (token.text in ("]", "}"))
        if token.text == "\n" and depth == 0:
            if words:
                yield words
            words = []
        elif token.text != "\n" and not token.text.startswith("#"):
            words.append(token)
    if words:
        yield words
