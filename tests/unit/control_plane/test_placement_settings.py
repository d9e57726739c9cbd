"""What a manifest may say of a runtime's place."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest import ManifestForm, ManifestRuntime
from control_plane.domain.runtime import PlacementSettings, PlacementStrategy
from control_plane.manifests.reader import Reader
from control_plane.manifests.writer import Writer
from control_plane.messages.runtimes import spec_to_proto
from tests.fakes.control_plane import a_spec

SAID = 'version = 1\n[[runtimes]]\nid = "chat"\nadapter = "llama.cpp"\nmodel = "tiny"\n'


def read(said: str) -> PlacementSettings:
    manifest = Reader().read((SAID + said).encode(), ManifestForm.TOML, "m.toml")
    return manifest.runtimes[0].spec.placement


def test_without_a_word_runtimes_are_spread_and_stay_with_a_silent_node() -> None:
    assert read("") == PlacementSettings(PlacementStrategy.SPREAD, None)
    assert read('[runtimes.placement]\non_disconnect = "keep"\n') == PlacementSettings()


@pytest.mark.parametrize(
    ("said", "after"),
    [("90s", timedelta(seconds=90)), ("15m", timedelta(minutes=15)), ("2h", timedelta(hours=2)), ("1d", timedelta(1))],
)
def test_a_time_to_move_has_a_unit(said: str, after: timedelta) -> None:
    text = f'[runtimes.placement]\nstrategy = "binpack"\non_disconnect = "move_after:{said}"\n'
    assert read(text) == PlacementSettings(PlacementStrategy.BINPACK, after)


@pytest.mark.parametrize(
    "said",
    [
        'strategy = "random"',
        'on_disconnect = "move"',
        'on_disconnect = "move_after:"',
        'on_disconnect = "move_after:0s"',
        'on_disconnect = "move_after:5"',
        'on_disconnect = "move_after:366d"',
        "spread = true",
    ],
)
def test_anything_else_is_refused_with_its_line(said: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        read(f"[runtimes.placement]\n{said}\n")
    assert "line 7" in caught.value.text


@pytest.mark.parametrize("form", list(ManifestForm))
def test_an_export_is_read_as_the_same(form: ManifestForm) -> None:
    spec = a_spec(placement=PlacementSettings(PlacementStrategy.BINPACK, timedelta(minutes=15)))
    content = Writer().written([ManifestRuntime(RuntimeId("chat"), spec, 0)], form)
    assert Reader().read(content, form, "m").runtimes[0].spec == spec
    message = spec_to_proto(spec).placement
    assert (message.strategy, message.move_after.seconds) == (2, 900)
    assert not spec_to_proto(a_spec()).placement.HasField("move_after")
