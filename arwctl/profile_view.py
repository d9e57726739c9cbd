"""Profiles and what came of them, as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from arw_client import messages as m
from arwctl.output import Columns, slug
from arwctl.plain import one_line
from arwctl.screen import Screen

PROFILES = Columns[m.RuntimeProfile](
    ("profile", "says", "from", "for"),
    lambda profile: (
        profile.name,
        slug(profile.problem.reason) if profile.problem else ", ".join(map(_short, profile.intents)) or "nothing",
        profile.source or "shipped",
        profile.problem.text if profile.problem else profile.description,
    ),
    "There is no profile.",
)


def describe(screen: Screen, profile: m.RuntimeProfile) -> None:
    screen.line(f"{profile.name}: {profile.description or 'no description'} ({profile.source or 'shipped'})")
    if profile.problem:
        screen.line(f"  cannot be used: {profile.problem.text} {profile.problem.remedy}")
    for intent in profile.intents:
        screen.line(f"  {intent.key} = {intent.value}")


def intents(answer: m.ExplainRuntimeResponse) -> Iterator[str]:
    """How its engine is to run: each key with its value and whose word it is."""
    for choice in answer.intents:
        if choice.word is not None:
            over = "".join(f"; not {word.value}, {_whose(word)}" for word in choice.over)
            yield f"{choice.key} = {choice.word.value} ({_whose(choice.word)}{over})"
    if answer.unsaid_intents:
        adapter = answer.runtime.spec.adapter if answer.runtime and answer.runtime.spec else "the adapter"
        yield f"not said: {', '.join(answer.unsaid_intents)} ({adapter} has no word for it)"


def _whose(word: m.IntentWord) -> str:
    told = " ".join(filter(None, (slug(word.source), one_line(word.source_name))))
    return f"{told}: {word.reason}" if word.reason else told


def _short(intent: m.ProfileIntent) -> str:
    return f"{intent.key.removeprefix('settings.')}={intent.value}"
