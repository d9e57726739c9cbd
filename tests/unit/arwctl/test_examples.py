"""Every command shows how it is used, and what it shows is what it takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import typer.main

from arwctl.main import GROUPS

_SHELL = frozenset(("|", "<", ">", "&&"))


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", None)
    if not below:
        yield words, command
        return
    for name, each in below.items():
        yield from _commands(each, (*words, name))


def _everything() -> dict[str, Any]:
    found = {}
    for name in GROUPS:
        group = typer.main.get_command(import_module(f"arwctl.groups.{name}").app)
        found.update({" ".join(words): command for words, command in _commands(group, (name,))})
    return found


COMMANDS = _everything()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_examples_that_the_command_takes(name: str) -> None:
    command = COMMANDS[name]
    _, found, examples = (command.help or "").partition("Examples:\n")
    assert found, f"arwctl {name} --help shows no example"
    for example in examples.splitlines():
        words = shlex.split(example)
        own = ["arwctl", *name.split()]
        assert words[: len(own)] == own
        given = words[len(own) : next((at for at, word in enumerate(words) if word in _SHELL), None)]
        with command.make_context(name, given):
            pass
