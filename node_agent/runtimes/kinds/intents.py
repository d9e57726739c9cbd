"""Refuses what an adapter has no words for, instead of leaving it out in silence."""

from __future__ import annotations

from dataclasses import fields

from node_agent.domain.errors import SpecInvalid
from node_agent.domain.spec import EngineSettings, InstanceSpec


def only(spec: InstanceSpec, *known: str) -> None:
    """SpecInvalid when a setting beside these was made."""
    made = [field.name for field in fields(EngineSettings) if getattr(spec.settings, field.name) is not None]
    unknown = [name for name in made if name not in known]
    if unknown:
        raise SpecInvalid(
            f"{spec.adapter} has no word for {', '.join(unknown)}.",
            f"Leave it out of settings; {spec.adapter} knows {', '.join(known) or 'none of them'}.",
            settings=", ".join(unknown),
        )
