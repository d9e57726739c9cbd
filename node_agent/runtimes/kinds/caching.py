"""Settings about what an engine's prompt cache holds."""

from __future__ import annotations

import re

from node_agent.domain.errors import SpecInvalid
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.kinds.adapter import Feature, Traits

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Of a folder on this node."""


def check_caching(spec: InstanceSpec, traits: Traits) -> None:
    """SpecInvalid, for adapters of every kind."""
    wanted = {"warm_up_prompts": spec.settings.warm_up_prompts, "prompt_cache": spec.settings.prompt_cache}
    given = ", ".join(name for name, value in wanted.items() if value is not None)
    if given and Feature.PROMPT_CACHE not in traits.features:
        raise SpecInvalid(f"{spec.adapter} has no word for {given}.", "Leave it out of settings.", settings=given)
    if given and spec.settings.embeddings:
        raise SpecInvalid(
            f"{spec.runtime_id} serves embeddings, which no prompt cache makes faster.",
            f"Leave {given} out of its settings, or embeddings.",
            settings=given,
        )
    name = spec.settings.prompt_cache
    if name is not None and NAME.fullmatch(name) is None:
        raise SpecInvalid(
            f"{name[:64]!r} is no name of a prompt cache.",
            "Use at most 64 lower-case letters, digits, dots, dashes and underscores, a letter or digit first.",
            settings="prompt_cache",
        )
