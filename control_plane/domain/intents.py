"""What several sources say of how an engine is to run, and whose word counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control_plane.domain.runtime import EngineSettings, Intents

SETTING = "settings."
"""Before the name of each setting, as manifests write it."""
_OTHERS = ("modalities", "accelerator", "on_missing_accelerator", "threads_share", "tuning")


class Source(StrEnum):
    """Who says something; each wins over those before it."""

    ADAPTER = "adapter"
    TUNING = "tuning"
    """The rules for the node's hardware."""
    BUNDLE = "bundle"
    PROFILE = "profile"
    NODE = "node"
    MANIFEST = "manifest"
    ORDER = "order"
    """Of an operator, such as a swap; until the manifest says something else."""
    PROJECT = "project"
    CLAIM = "claim"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {source: rank for rank, source in enumerate(Source)}


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says, by the manifest's keys."""

    source: Source
    said: Mapping[str, Any]
    name: str = ""
    """Of the source, such as the profile's."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What counts for one key."""

    key: str
    value: Any
    by: Layer
    over: tuple[Layer, ...] = ()
    """Those who say something else and do not count, the strongest first."""


def resolve(layers: Iterable[Layer]) -> tuple[Choice, ...]:
    """By key. At most one layer of a source says something of the same key."""
    ranked = sorted(layers, key=lambda layer: layer.source.rank, reverse=True)
    return tuple(_choice(key, ranked) for key in sorted({key for layer in ranked for key in layer.said}))


def said(intents: Intents) -> dict[str, Any]:
    """By the manifest's keys, without what is left open."""
    settings = {f"{SETTING}{name}": getattr(intents.settings, name) for name in EngineSettings.__slots__}
    whole = settings | {name: getattr(intents, name) for name in _OTHERS}
    return {key: value for key, value in whole.items() if value is not None}


def of_settings(settings: EngineSettings) -> dict[str, Any]:
    return said(Intents(settings))


def intents_of(values: Mapping[str, Any]) -> Intents:
    settings = {name: values.get(f"{SETTING}{name}") for name in EngineSettings.__slots__}
    return Intents(EngineSettings(**settings), **{name: values.get(name) for name in _OTHERS})


def _choice(key: str, ranked: Sequence[Layer]) -> Choice:
    by, *others = (layer for layer in ranked if key in layer.said)
    return Choice(key, by.said[key], by, tuple(each for each in others if each.said[key] != by.said[key]))
