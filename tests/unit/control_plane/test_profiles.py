from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from arw.v1 import runtime_pb2
from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.declaration import Outcome, redeclared
from control_plane.domain.desired import Placed
from control_plane.domain.errors import EtagMismatch, InvalidArgument, ManifestInvalid
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.intents import Choice
from control_plane.domain.manifest import ManifestForm
from control_plane.domain.manifest_plan import Action, FieldChange, PlannedRuntime
from control_plane.domain.runtime import EngineSettings, MissingAccelerator, Modality
from control_plane.domain.tuning import settings_of
from control_plane.manifests.profiles import ProfileFiles
from control_plane.manifests.reader import Reader
from control_plane.manifests.writer import Writer
from control_plane.sessions.convert import instance_spec_to_proto
from control_plane.use_cases.apply_manifest import ApplyManifest
from control_plane.use_cases.explain_runtime import ExplainRuntime, Explanation
from control_plane.use_cases.export_manifest import ExportManifest
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.plan_manifest import PlanManifest
from control_plane.use_cases.set_profile import ListProfiles, SetProfile
from tests.fakes.control_plane import World, a_model, a_node, an_inventory

CHAT = RuntimeId("chat")
HEAD = 'version = 1\n[[runtimes]]\nid = "chat"\nauto_start = true\n'
LLAMA = f'{HEAD}adapter = "llama.cpp"\nmodel = "tiny"\n'
OURS = """\
version = 1
accelerator = "cuda"
on_missing_accelerator = "fail"
modalities = ["text", "vision"]
[settings]
slots = {slots}
context_length = 512
threads_share = 50
"""


@dataclass(slots=True)
class Site:
    """A control plane with profiles of its operator's own, and one node of four cores."""

    folder: Path
    world: World

    @property
    def reader(self) -> Reader:
        return Reader(ProfileFiles(self.folder))

    def has(self, text: str, name: str = "ours") -> None:
        (self.folder / f"{name}.toml").write_text(text)

    async def apply(self, text: str) -> Outcome:
        world = self.world
        use_case = ApplyManifest(world.store, world.fleet, world.clock, world.randomness, self.reader)
        applied = await use_case(text.encode(), ManifestForm.TOML, "m.toml")
        await PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)()
        return applied.runtimes[0].outcome

    async def plan(self, text: str) -> PlannedRuntime:
        world = self.world
        use_case = PlanManifest(world.store, world.fleet, world.clock, self.reader, world.circumstances)
        return (await use_case(text.encode(), ManifestForm.TOML, "m.toml")).runtimes[0]

    async def export(self) -> str:
        return (await ExportManifest(self.world.store, Writer())([], ManifestForm.TOML)).decode()

    async def explain(self) -> Explanation:
        return await ExplainRuntime(self.world.store, self.world.fleet, self.world.circumstances)(CHAT)

    async def set_profile(self, name: str, etag: str = "") -> None:
        world = self.world
        await SetProfile(world.store, world.fleet, world.clock, ProfileFiles(self.folder))(CHAT, name, etag=etag)

    async def settings(self) -> EngineSettings:
        """As the node is told them."""
        return settings_of(await self.world.runtime())


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    world = World()
    await world.has(a_model(), a_node())
    world.fleet.connect(NodeId("n1"))
    return Site(tmp_path, world)


def under(profile: str, more: str = "") -> str:
    return f'{LLAMA}profile = "{profile}"\n{more}'


def told(choice: Choice) -> tuple[object, str, str]:
    return choice.value, choice.by.source.value, choice.by.name


async def test_a_manifest_wins_over_its_profile_and_the_node_fills_what_is_left(site: Site) -> None:
    site.has(OURS.format(slots=4))
    await site.apply(under("ours", 'accelerator = "cpu"\n[runtimes.settings]\ncontext_length = 2048\n'))
    spec = (await site.world.runtime()).spec
    assert spec.settings == EngineSettings(context_length=2048, slots=4)
    assert (spec.accelerator, spec.on_missing_accelerator) == (AcceleratorKind.CPU, MissingAccelerator.FAIL)
    assert spec.modalities == (Modality.TEXT, Modality.VISION)
    assert await site.settings() == EngineSettings(context_length=2048, slots=4, threads=2)


async def test_the_node_is_told_figures_and_never_a_profiles_intents(site: Site) -> None:
    await site.apply(under("silent"))
    runtime = await site.world.runtime()
    said = instance_spec_to_proto(Placed(runtime, None)).runtime
    assert said.settings.threads == 1
    assert (said.settings.context_length, said.settings.slots) == (2048, 1)
    assert said.profile == "silent"


async def test_a_runtime_without_a_profile_is_told_what_it_was_told_before_there_were_profiles(site: Site) -> None:
    await site.apply(f"{LLAMA}[runtimes.settings]\nslots = 2\n")
    runtime = await site.world.runtime()
    assert runtime.spec.basis is None
    assert runtime.tuned == EngineSettings()
    assert instance_spec_to_proto(Placed(runtime, None)).runtime.settings == runtime_pb2.EngineSettings(slots=2)


async def test_what_was_chosen_for_a_node_stays_until_the_runtime_changes(site: Site) -> None:
    await site.apply(under("silent"))
    await site.world.has(a_node(inventory=replace(an_inventory(), cpu_cores=16)))
    assert (await site.settings()).threads == 1
    assert await site.apply(under("silent")) is Outcome.UNCHANGED
    assert (await site.settings()).threads == 1
    await site.apply(under("balanced"))
    assert (await site.settings()).threads == 8


async def test_a_changed_profile_is_a_change_like_any_other(site: Site) -> None:
    site.has(OURS.format(slots=4))
    await site.apply(under("ours"))
    generation = (await site.world.runtime()).generation
    assert await site.apply(under("ours")) is Outcome.UNCHANGED
    site.has(OURS.format(slots=6).replace("50", "100"))
    assert (await site.settings()).slots == 4
    planned = await site.plan(await site.export())
    assert planned.action is Action.CHANGE
    assert planned.restarts
    assert planned.changes == (
        FieldChange("settings.slots", 4, 6),
        FieldChange("profile.threads_share", 50, 100),
    )
    assert await site.apply(under("ours")) is Outcome.UPDATED
    assert (await site.settings()).slots == 6
    assert (await site.world.runtime()).generation == generation + 1
    (event,) = await site.world.events("runtime.profile.")
    assert (event.payload["profile"], event.payload["previous"]) == ("ours", "ours")


async def test_a_plan_says_that_nothing_restarts_when_only_names_change(site: Site) -> None:
    await site.apply(under("silent"))
    planned = await site.plan(under("silent", 'name = "Chat"\n'))
    assert (planned.action, planned.restarts) == (Action.CHANGE, False)


async def test_an_export_says_what_the_manifest_said_and_changes_nothing(site: Site) -> None:
    site.has(OURS.format(slots=4))
    text = under("ours", 'modalities = ["text"]\non_missing_accelerator = "degrade"\n[runtimes.settings]\nslots = 4\n')
    await site.apply(text)
    exported = await site.export()
    assert 'profile = "ours"' in exported
    assert 'on_missing_accelerator = "degrade"' in exported
    assert 'modalities = ["text"]' in exported
    assert "slots = 4" in exported
    assert "context_length" not in exported
    assert 'accelerator = "gpu_cuda"' not in exported
    assert (await site.plan(exported)).action is Action.NOTHING


async def test_a_profile_that_there_is_not_or_that_is_wrong_is_refused_at_its_line(site: Site) -> None:
    with pytest.raises(ManifestInvalid, match=r"line 7: runtimes\[0\].profile: does not know 'fast'; known are"):
        await site.apply(under("fast"))
    site.has("version = 1\nflag = 1\n")
    with pytest.raises(ManifestInvalid, match="line 2: flag: is not known"):
        await site.apply(under("ours"))
    assert await site.apply(under("silent")) is Outcome.CREATED


async def test_what_an_adapter_has_no_word_for_is_left_out_and_said(site: Site) -> None:
    text = f'{HEAD}adapter = "whisper.cpp"\nmodel = "tiny"\nprofile = "performance"\n'
    await site.apply(text)
    assert (await site.world.runtime()).spec.settings == EngineSettings(warm_up=True)
    assert (await site.explain()).unsaid == ("settings.batch_size", "settings.slots")


async def test_an_explanation_says_whose_word_each_value_is(site: Site) -> None:
    site.has(OURS.format(slots=4).replace('accelerator = "cuda"\n', "tuning = true\n", 1))
    await site.apply(under("ours", "[runtimes.settings]\ncontext_length = 2048\n"))
    found = {choice.key: choice for choice in (await site.explain()).choices}
    assert {key: told(choice) for key, choice in found.items()} == {
        "modalities": ((Modality.TEXT, Modality.VISION), "profile", "ours"),
        "on_missing_accelerator": (MissingAccelerator.FAIL, "profile", "ours"),
        "settings.context_length": (2048, "manifest", "m.toml"),
        "settings.slots": (4, "profile", "ours"),
        "settings.threads": (2, "profile", "ours"),
    }
    assert [layer.said["settings.context_length"] for layer in found["settings.context_length"].over] == [512]
    assert found["settings.threads"].by.why == "50 % of 4 cores"


async def test_what_the_rules_chose_is_told_with_the_figures(site: Site) -> None:
    site.has("version = 1\ntuning = true\n")
    await site.apply(under("ours"))
    found = {choice.key: choice for choice in (await site.explain()).choices}
    assert told(found["settings.threads"]) == (4, "tuning", "")
    assert found["settings.context_length"].by.why == "1 GB of memory"
    await site.world.has(a_node(inventory=replace(an_inventory(), cpu_cores=16)))
    assert {c.key: c for c in (await site.explain()).choices}["settings.threads"].by.why == (
        "chosen when it got this place"
    )


async def test_a_profile_set_by_hand_lasts_until_the_manifest_says_something_else(site: Site) -> None:
    await site.apply(under("balanced", "[runtimes.settings]\nslots = 3\n"))
    etag = (await site.world.runtime()).etag
    await site.set_profile("silent", etag)
    runtime = await site.world.runtime()
    assert (runtime.spec.profile, runtime.source) == ("silent", "m.toml")
    assert await site.settings() == EngineSettings(
        context_length=2048, slots=3, threads=1, batch_size=256, warm_up=False
    )
    assert runtime.declared is not None
    assert runtime.declared.profile == "balanced"
    assert await site.world.events("runtime.profile.changed")
    found = {choice.key: told(choice) for choice in (await site.explain()).choices}
    assert found["settings.batch_size"] == (256, "profile", "silent")
    assert found["settings.slots"] == (3, "manifest", "m.toml")
    with pytest.raises(EtagMismatch):
        await site.set_profile("turbo", etag)
    await site.set_profile("")
    assert (await site.world.runtime()).spec.settings == EngineSettings(slots=3)
    assert (await site.world.runtime()).spec.basis is None
    assert [told(choice) for choice in (await site.explain()).choices] == [(3, "manifest", "m.toml")]
    await site.set_profile("balanced")
    assert (await site.world.runtime()).declared is None


async def test_setting_the_same_profile_again_changes_something_only_if_it_changed(site: Site) -> None:
    site.has(OURS.format(slots=4))
    await site.apply(LLAMA)
    await site.set_profile("ours")
    revision = await site.world.revision()
    await site.set_profile("ours")
    assert await site.world.revision() == revision
    site.has(OURS.format(slots=6))
    await site.set_profile("ours")
    assert (await site.settings()).slots == 6


async def test_a_profile_that_cannot_be_set_says_why(site: Site) -> None:
    site.has("version = 1\nflag = 1\n")
    await site.apply(LLAMA.replace("auto_start", "replicas = 2\nauto_start"))
    with pytest.raises(InvalidArgument, match="There is no profile 'fast'"):
        await site.set_profile("fast")
    with pytest.raises(ManifestInvalid, match="flag: is not known"):
        await site.set_profile("ours")
    with pytest.raises(InvalidArgument, match="is a replica of chat"):
        world = site.world
        await SetProfile(world.store, world.fleet, world.clock, ProfileFiles())(RuntimeId("chat.2"), "silent")


async def test_replicas_take_the_profile_of_their_head(site: Site) -> None:
    await site.apply(LLAMA.replace("auto_start", "replicas = 2\nauto_start"))
    await site.set_profile("silent")
    assert (await site.world.runtime("chat.2")).spec.settings.context_length == 2048


async def test_the_profiles_are_listed_with_those_that_cannot_be_used(site: Site) -> None:
    site.has("version = 1\nflag = 1\n")
    found = await ListProfiles(ProfileFiles(site.folder))()
    assert isinstance(found["ours"], ManifestInvalid)
    assert "silent" in found


async def test_a_swap_of_settings_is_told_as_an_order(site: Site) -> None:
    await site.apply(under("silent"))
    row = await site.world.runtime()
    spec = replace(row.spec, settings=replace(row.spec.settings, slots=7))
    await site.world.has(redeclared(row, spec))
    found = {choice.key: choice for choice in (await site.explain()).choices}
    assert told(found["settings.slots"]) == (7, "order", "")
    assert [layer.said["settings.slots"] for layer in found["settings.slots"].over] == [1]
    assert "slots = 7" in await site.export()
