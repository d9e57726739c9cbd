"""Profiles: intents under a name, which runtimes share."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.intents import SETTING, Layer, Source, intents_of, resolve, said
from control_plane.domain.runtime import (
    EXTERNAL,
    Basis,
    EngineSettings,
    Intents,
    MissingAccelerator,
    Modality,
    RuntimeSpec,
)

PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

WORDS: Mapping[str, Collection[str]] = {
    "llama.cpp": frozenset(EngineSettings.__slots__),
    "llamafile": frozenset(EngineSettings.__slots__) - {"warm_up_prompts", "prompt_cache", "kv_cache_type"},
    "whisper.cpp": frozenset({"threads", "warm_up"}),
    "vllm": frozenset({"context_length", "slots"}),
    "piper": frozenset(),
    "onnxruntime": frozenset(),
    "process": frozenset(),
    EXTERNAL: frozenset(),
}
"""The settings that each adapter of the node agent can say; of another one its node judges."""
UNPLACED = frozenset({"accelerator", "on_missing_accelerator", "tuning"})
"""Means nothing for what runs already."""


@dataclass(frozen=True, slots=True)
class Profile:
    name: str
    intents: Intents
    description: str = ""
    source: str = ""
    """Its file; empty: it came with the control plane."""


def profiled(spec: RuntimeSpec) -> tuple[str, Intents]:
    """Under which profile it is, and what that says for it."""
    return spec.profile, spec.basis.profile if spec.basis is not None else Intents()


def has_word(adapter: str, setting: str) -> bool:
    return adapter not in WORDS or setting in WORDS[adapter]


def under(profile: Profile, spec: RuntimeSpec, manifest: Intents) -> RuntimeSpec:
    """The spec as manifest and profile say it together. `spec`: as the manifest says it alone."""
    able = {key: value for key, value in said(profile.intents).items() if _can_say(spec.adapter, key)}
    unsaid = tuple(sorted(said(profile.intents).keys() - able.keys()))
    basis = Basis(manifest, intents_of(able), unsaid)
    both = together(basis)
    return replace(
        spec,
        settings=both.settings,
        modalities=both.modalities or (Modality.TEXT,),
        accelerator=both.accelerator or AcceleratorKind.UNSPECIFIED,
        on_missing_accelerator=both.on_missing_accelerator or MissingAccelerator.DEGRADE,
        basis=basis,
    )


def as_said(spec: RuntimeSpec) -> RuntimeSpec:
    """As its manifest says it, without its profile; with what an order set besides."""
    if spec.basis is None:
        return spec
    manifest, both = spec.basis.manifest, together(spec.basis).settings
    ordered = {name: value for name in EngineSettings.__slots__ if (value := getattr(spec.settings, name)) is not None}
    settings = {name: value for name, value in ordered.items() if value != getattr(both, name)}
    return replace(
        spec,
        settings=replace(manifest.settings, **settings),
        modalities=manifest.modalities or (Modality.TEXT,),
        accelerator=manifest.accelerator or AcceleratorKind.UNSPECIFIED,
        on_missing_accelerator=manifest.on_missing_accelerator or MissingAccelerator.DEGRADE,
        basis=None,
    )


def insisted(spec: RuntimeSpec) -> Collection[str]:
    """Keys that the manifest says, though some say what is the default without a profile."""
    return said(spec.basis.manifest).keys() if spec.basis is not None else ()


def together(basis: Basis) -> Intents:
    """Without what an order changed."""
    layers = (Layer(Source.PROFILE, said(basis.profile)), Layer(Source.MANIFEST, said(basis.manifest)))
    return intents_of({choice.key: choice.value for choice in resolve(layers)})


def _can_say(adapter: str, key: str) -> bool:
    if key == "threads_share":
        return has_word(adapter, "threads")
    if key.startswith(SETTING):
        return has_word(adapter, key.removeprefix(SETTING))
    return adapter != EXTERNAL or key not in UNPLACED
