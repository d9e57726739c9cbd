"""Who says what of how the engine of a runtime is to run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.intents import SETTING, Layer, Source, of_settings, said
from control_plane.domain.model import Model
from control_plane.domain.node import NodeInventory
from control_plane.domain.profile import as_said, together
from control_plane.domain.runtime import Intents, MissingAccelerator, Modality, Runtime, RuntimeSpec
from control_plane.domain.tuning import settings_of, tunings
from control_plane.domain.view import RuntimeView


def layers(view: RuntimeView, model: Model | None, inventory: NodeInventory | None) -> Iterator[Layer]:
    """`inventory`: of its node; None: it has no place."""
    runtime = view.runtime
    spec, basis = runtime.spec, runtime.spec.basis
    declared = spec if basis is not None else as_said(runtime.declared or spec)
    yield Layer(Source.MANIFEST, said(said_by_manifest(declared)), runtime.source)
    if basis is not None:
        left = replace(basis.profile, threads_share=None, tuning=None)
        yield Layer(Source.PROFILE, said(left), spec.profile)
    before = of_settings(together(basis).settings if basis is not None else declared.settings)
    ordered = {key: value for key, value in of_settings(spec.settings).items() if before.get(key) != value}
    yield Layer(Source.ORDER, ordered)
    yield from _chosen(runtime, model, inventory)
    slots = view.instance.health.slots if view.instance is not None and view.instance.health is not None else None
    if slots is not None and settings_of(runtime).slots is None:
        yield Layer(Source.ADAPTER, {f"{SETTING}slots": slots}, runtime.spec.adapter)


def said_by_manifest(spec: RuntimeSpec) -> Intents:
    """Without a profile, what is the default was most likely not said."""
    if spec.basis is not None:
        return spec.basis.manifest
    return Intents(
        spec.settings,
        spec.modalities if spec.modalities != (Modality.TEXT,) else None,
        spec.accelerator if spec.accelerator is not AcceleratorKind.UNSPECIFIED else None,
        spec.on_missing_accelerator if spec.on_missing_accelerator is not MissingAccelerator.DEGRADE else None,
    )


def _chosen(runtime: Runtime, model: Model | None, inventory: NodeInventory | None) -> Iterator[Layer]:
    """For its node: a layer for each setting. The reason is told while it still holds."""
    known = tunings(runtime.spec, model, inventory) if inventory is not None else ()
    rules = {(f"{SETTING}{each.setting}", each.value): each for each in known}
    share = runtime.spec.basis.profile.threads_share if runtime.spec.basis is not None else None
    for key, value in of_settings(runtime.tuned).items():
        rule = rules.get((key, value))
        shared = key == f"{SETTING}threads" and share is not None
        source, name = (Source.PROFILE, runtime.spec.profile) if shared else (Source.TUNING, "")
        yield Layer(source, {key: value}, name, rule.why if rule is not None else "chosen when it got this place")
