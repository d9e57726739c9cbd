"""Why an instance would not do for a claim."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.claims.claim import Requirement, RuntimeClaim
from control_plane.domain.claims.holds import used
from control_plane.domain.claims.offers import SHORTEST, Offer, promised_at
from control_plane.domain.ids import ClaimId, resource_name
from control_plane.domain.instance import InstanceState
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, Runtime, RuntimeSpec


def lasting(wanted: Requirement, offer: Offer) -> Iterator[Problem]:
    """What only another declaration changes."""
    runtime, spec, of = offer.runtime, offer.runtime.spec, _of(offer)
    if wanted.modality not in spec.modalities:
        text = f"Runtime {runtime.id} does no {wanted.modality}."
        yield Problem("MODALITY_MISSING", text, "Claim a runtime that does.", of)
    context = spec.settings.context_length
    if wanted.context_window and (context is None or context < wanted.context_window):
        has = f"has a context of {context}" if context else "does not say how long its context is"
        text = f"Runtime {runtime.id} {has}, and {wanted.context_window} tokens are wanted."
        yield Problem("CONTEXT_INSUFFICIENT", text, "Set settings.context_length of the runtime, or ask for less.", of)
    if wanted.accelerator not in (AcceleratorKind.UNSPECIFIED, spec.accelerator) and _is_settled(spec):
        text = f"Runtime {runtime.id} is declared for {spec.accelerator.label}, not for {wanted.accelerator.label}."
        yield Problem("ACCELERATOR_MISSING", text, "Claim any accelerator, or declare a runtime for this one.", of)
    if missing := sorted(set(wanted.features) - features(spec)):
        text = f"Runtime {runtime.id} lacks: {', '.join(missing)}."
        yield Problem("FEATURE_MISSING", text, "Tag the runtime with what it can do, or claim another.", of)


def passing(wanted: Requirement, offer: Offer) -> Iterator[Problem]:
    """What may change by itself."""
    runtime, of = offer.runtime, _of(offer)
    if runtime.desired_state is DesiredState.STOPPED:
        text = f"Runtime {runtime.id} is shut down."
        yield Problem("SHUT_DOWN", text, f"Start it: `arwctl runtime restore {runtime.id}`.", of)
    elif not offer.serves:
        yield not_serving(offer)
    elif wanted.accelerator not in (AcceleratorKind.UNSPECIFIED, _accelerator(offer)):
        text = f"Runtime {runtime.id} runs on {_accelerator(offer).label} now, not on {wanted.accelerator.label}."
        yield Problem("ACCELERATOR_MISSING", text, f"See why: `arwctl runtime explain {runtime.id}`.", of)
    if wanted.min_tokens_per_sec and offer.tokens_per_sec is None:
        text = f"How fast runtime {runtime.id} is where it runs was never measured."
        yield Problem("THROUGHPUT_UNKNOWN", text, "Measure it: `arwctl model benchmark`.", of)
    elif wanted.min_tokens_per_sec > (offer.tokens_per_sec or 0.0):
        text = (
            f"Runtime {runtime.id} makes {offer.tokens_per_sec:g} tokens a second, not {wanted.min_tokens_per_sec:g}."
        )
        yield Problem("THROUGHPUT_INSUFFICIENT", text, "Ask for less, or claim another runtime.", of)


def of_room(order: RuntimeClaim, claim: ClaimId, offer: Offer, now: datetime) -> Problem | None:
    """Why it is in use for this claim now, or as good as."""
    runtime = offer.runtime
    using = used(runtime)
    if not offer.has_room(order):
        alone = any(hold.exclusive for hold in using)
        how = "one claim has it alone" if alone else f"{len(using)} of its {offer.slots} slots are taken"
        return Problem("IN_USE", f"Runtime {runtime.id} is in use: {how}.", "Wait, or claim another.", _of(offer))
    promised = promised_at(offer, order, claim, now)
    if promised is None or promised - now >= max(SHORTEST, order.ttl):
        return None
    text = f"Runtime {runtime.id} is promised to another claim from {promised:%Y-%m-%dT%H:%M:%SZ} on."
    return Problem("IN_USE", text, "Ask for a shorter time, wait, or claim another.", _of(offer))


def not_serving(offer: Offer) -> Problem:
    """As of a runtime that is to run."""
    runtime, instance = offer.runtime, offer.instance
    if runtime.node is None:
        text = f"Runtime {runtime.id} has no place."
        return runtime.placement_problem or Problem("NO_NODE", text, "Wait for it to be placed.", _of(offer))
    if instance is not None and instance.state is InstanceState.UNKNOWN:
        text = f"Node {runtime.node}, where runtime {runtime.id} is, is not connected."
        return Problem("NODE_OFFLINE", text, "Start its agent.", {"node": resource_name("nodes", runtime.node)})
    if instance is not None and instance.problem is not None:
        return instance.problem
    state = instance.state.value if instance else "not started"
    remedy = f"See `arwctl runtime explain {runtime.id}`."
    return Problem("NOT_READY", f"Runtime {runtime.id} is {state}.", remedy, _of(offer))


def nobody(wanted: Requirement) -> Problem:
    text = f"No runtime or model is named {wanted.model_tag[:200]!r}."
    return Problem("NOT_FOUND", text, "List what there is: `arwctl runtime list`.", {"model_tag": wanted.model_tag})


def features(spec: RuntimeSpec) -> set[str]:
    """What it is tagged with, and what follows from its settings."""
    found = {key for key, value in spec.tags.items() if value != "false"}
    found |= {f"{key}={value}" for key, value in spec.tags.items()}
    found |= {"embeddings"} if spec.settings.embeddings else set()
    return found | ({"prompt_cache"} if spec.settings.prompt_cache else set())


def _is_settled(spec: RuntimeSpec) -> bool:
    """Whether its declaration says on what it runs."""
    return spec.accelerator is not AcceleratorKind.UNSPECIFIED


def _accelerator(offer: Offer) -> AcceleratorKind:
    told = offer.instance.accelerator if offer.instance else AcceleratorKind.UNSPECIFIED
    return told if told is not AcceleratorKind.UNSPECIFIED else offer.runtime.spec.accelerator


def _of(offer: Offer) -> dict[str, str]:
    return {"runtime": _name(offer.runtime)}


def _name(runtime: Runtime) -> str:
    return resource_name("runtimes", runtime.id)
