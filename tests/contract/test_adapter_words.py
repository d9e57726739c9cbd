"""What the control plane believes an adapter can say, and what the adapter then does."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from control_plane.domain.profile import WORDS, has_word
from control_plane.manifests.profiles import shipped
from node_agent.domain.spec import EngineSettings, InstanceSpec
from node_agent.runtimes.kinds import registry
from node_agent.runtimes.kinds.caching import check_caching
from tests.fakes.adapter_cases import CASES
from wire.refusal import Refusal

ADAPTERS = {one.adapter.id: one.adapter for one in registry.registered(())}
SAID: dict[str, Any] = {
    "context_length": 4096,
    "slots": 2,
    "threads": 2,
    "gpu_layers": 1,
    "batch_size": 64,
    "embeddings": True,
    "pooling": "mean",
    "warm_up": True,
    "warm_up_prompts": ("x",),
    "prompt_cache": "songs",
}
"""But for kv_cache_type, which the option list of the binary in hand decides."""


def test_the_words_of_every_adapter_are_known() -> None:
    assert WORDS.keys() == ADAPTERS.keys()


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
def test_a_profile_says_what_the_adapter_takes_and_nothing_that_it_refuses(adapter: str, tmp_path: Path) -> None:
    one = CASES[adapter].spec(tmp_path)
    for setting, value in SAID.items():
        refusal = _refused(adapter, replace(one, settings=EngineSettings(**{setting: value})))
        assert has_word(adapter, setting) == (refusal is None), setting
        assert refusal is None or setting in refusal.text


def _refused(adapter: str, wanted: InstanceSpec) -> Refusal | None:
    try:
        ADAPTERS[adapter].check(wanted)
        check_caching(wanted, ADAPTERS[adapter].traits)
    except Refusal as refusal:
        return refusal
    return None


def test_both_sides_know_the_same_settings() -> None:
    assert {field.name for field in fields(EngineSettings)} == {*SAID, "kv_cache_type"} == set(WORDS["llama.cpp"])


def test_no_shipped_profile_says_what_every_adapter_lacks() -> None:
    for profile in shipped().values():
        given = [name for name in EngineSettings.__slots__ if getattr(profile.intents.settings, name) is not None]
        assert all(any(has_word(adapter, name) for adapter in ADAPTERS) for name in given)
