"""How engines are run, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from arw_client import messages as m
from arwctl.output import slug


def mode(instance: m.Instance | None) -> str:
    """How it runs, or ran last; empty until it was started once, and for what runs already."""
    return slug(instance.execution_mode) if instance and instance.execution_mode else ""


def standing(instance: m.Instance | None) -> str:
    """The mode with its reason, in one line."""
    if instance is None or not (found := mode(instance)):
        return ""
    return f"mode: {found}{f' ({instance.execution_reason})' if instance.execution_reason else ''}"


def engine(found: m.Engine) -> str:
    name = f"{found.adapter} {found.version}".rstrip()
    notes = [f"image {found.image}"] if found.image else []
    if found.devices is not None:
        notes.append(f"sees {', '.join(device.name for device in found.devices.devices) or 'the processor alone'}")
    return f"{name} ({', '.join(notes)})" if notes else name


def facts(offers: Sequence[m.ExecutionOffer]) -> Iterator[tuple[str, str]]:
    """Name and value of each line; a line without a name goes on with the one above."""
    if not offers:
        yield "Execution", "native; its agent knows no other mode"
        return
    yield "Execution", "; ".join(_offer(offer) for offer in offers if offer.available) or "no mode is to be had"
    for offer in offers:
        if not offer.available:
            yield "", f"without {slug(offer.mode)}: {offer.detail or 'its agent does not say why'}"


def _offer(offer: m.ExecutionOffer) -> str:
    return f"{slug(offer.mode)} ({offer.detail})" if offer.detail else slug(offer.mode)
