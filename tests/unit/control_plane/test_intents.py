from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.intents import Layer, Source, intents_of, resolve, said
from control_plane.domain.profile import Profile, as_said, under
from control_plane.domain.runtime import EngineSettings, Intents, Modality
from control_plane.domain.tuning import filled
from tests.fakes.control_plane import a_spec

COUNT = st.none() | st.integers(1, 99)
SETTINGS = st.builds(
    EngineSettings, context_length=COUNT, slots=COUNT, threads=COUNT, warm_up=st.none() | st.booleans()
)
LAYERS = st.lists(
    st.builds(Layer, st.sampled_from(Source), SETTINGS.map(lambda settings: said(Intents(settings)))),
    unique_by=lambda layer: layer.source,
)


@given(LAYERS, st.randoms(use_true_random=False))
def test_for_each_key_the_highest_source_that_says_it_counts_in_whatever_order_they_come(
    layers: list[Layer], random: Random
) -> None:
    found = resolve(random.sample(layers, len(layers)))
    assert found == resolve(layers)
    assert {choice.key for choice in found} == {key for layer in layers for key in layer.said}
    for choice in found:
        sayers = [layer for layer in layers if choice.key in layer.said]
        assert choice.by == max(sayers, key=lambda layer: layer.source.rank)
        assert choice.value == choice.by.said[choice.key]
        assert list(choice.over) == sorted(choice.over, key=lambda layer: -layer.source.rank)
        assert all(layer.said[choice.key] != choice.value for layer in choice.over)


def test_the_order_of_the_sources_is_the_published_one() -> None:
    assert [source.value for source in Source] == [
        *("adapter", "tuning", "bundle", "profile", "node", "manifest", "order", "project", "claim")
    ]


@given(st.builds(Intents, SETTINGS, st.none() | st.just((Modality.AUDIO,)), threads_share=COUNT, tuning=st.booleans()))
def test_intents_are_the_same_after_they_were_taken_apart(intents: Intents) -> None:
    assert intents_of(said(intents)) == intents


@given(SETTINGS, SETTINGS, SETTINGS)
def test_what_a_manifest_and_an_order_say_is_told_apart_from_the_profile(
    manifest: EngineSettings, profile: EngineSettings, order: EngineSettings
) -> None:
    alone = a_spec(settings=manifest, profile="own")
    spec = under(Profile("own", Intents(profile)), alone, Intents(manifest))
    for name in EngineSettings.__slots__:
        assert getattr(spec.settings, name) in (getattr(manifest, name), getattr(profile, name))
        if getattr(manifest, name) is not None:
            assert getattr(spec.settings, name) == getattr(manifest, name)
    assert as_said(spec) == alone
    ordered = as_said(replace(spec, settings=filled(order, spec.settings)))
    assert under(Profile("own", Intents(profile)), ordered, Intents(ordered.settings)).settings == filled(
        order, spec.settings
    )
