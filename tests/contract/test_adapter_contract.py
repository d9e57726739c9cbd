"""What holds of every adapter, the agent's own and one that a package brings."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from node_agent.domain.errors import EngineFlagUnknown, EngineNotFound, SpecInvalid
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import EngineSettings, InstanceSpec, ModelFile
from node_agent.runtimes.kinds import registry
from node_agent.runtimes.kinds.adapter import (
    Adapter,
    Capabilities,
    Command,
    Endpoint,
    Feature,
    Gauges,
    InUse,
    Line,
    Readiness,
)
from node_agent.runtimes.kinds.caching import check_caching
from node_agent.runtimes.kinds.flags import flags_of
from node_agent.runtimes.probe import NoAnswer
from tests.fakes import third_party_adapter
from tests.fakes.adapter_cases import CASES, Case
from wire.refusal import Refusal

SHORT = timedelta(seconds=0.5)
ENGINE = Engine("any", ("/opt/engine",), (("/opt/engine", "00"),), "1.2")
AT = Endpoint(4711, Path("/run/key"))
SCRATCH = Path("/scratch")
ANOTHERS = dict.fromkeys(("HF_TOKEN", "ARW_STATE_DIR", "LLAMA_ARG_HOST", "VLLM_SERVER_DEV_MODE", "LD_PRELOAD"), "x")

OWN = {one.adapter.id: one.adapter for one in registry.registered(())}
THIRD = third_party_adapter.ShellEcho()
ADAPTERS = OWN | {THIRD.id: THIRD}


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return ADAPTERS[request.param]


@pytest.fixture
def case(adapter: Adapter) -> Case:
    return CASES.get(adapter.id) or third_party_adapter.CASE


@pytest.fixture
def one(case: Case, tmp_path: Path) -> InstanceSpec:
    return case.spec(tmp_path)


@pytest.fixture
def able(case: Case) -> Capabilities:
    return Capabilities("1.2", flags_of(case.help_text))


def managed(adapter: Adapter) -> Adapter:
    if not adapter.traits.managed:
        pytest.skip("nothing is started for it")
    return adapter


def rendered(adapter: Adapter, one: InstanceSpec, able: Capabilities) -> Command:
    return managed(adapter).render(one, ENGINE, able, AT, SCRATCH)


def test_every_adapter_of_the_agent_has_a_case() -> None:
    assert OWN.keys() == CASES.keys()


def test_its_id_is_a_slug_and_it_says_what_it_can_do(adapter: Adapter) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", adapter.id)
    assert adapter.traits.features


def test_a_sound_spec_passes_its_checks(adapter: Adapter, one: InstanceSpec) -> None:
    adapter.check(one)


def test_a_file_of_another_kind_is_refused_with_what_to_do(adapter: Adapter, one: InstanceSpec, tmp_path: Path) -> None:
    if not adapter.traits.needs_model:
        pytest.skip("it needs no model")
    (tmp_path / "poem.txt").write_text("no model at all")
    with pytest.raises(Refusal) as caught:
        adapter.check(replace(one, model=ModelFile("m", str(tmp_path / "poem.txt"), "", 0)))
    assert caught.value.remedy


def test_the_command_is_the_trusted_program_with_options(
    adapter: Adapter, one: InstanceSpec, able: Capabilities
) -> None:
    command = rendered(adapter, one, able)
    assert command.argv[: len(ENGINE.command)] == ENGINE.command
    assert any(str(AT.port) in word for word in command.argv)
    assert all("\0" not in word and "\n" not in word for word in command.argv)


def test_it_listens_on_this_machine_only(adapter: Adapter, one: InstanceSpec, able: Capabilities) -> None:
    argv = rendered(adapter, one, able).argv
    assert "0.0.0.0" not in argv  # noqa: S104 - the point of the test
    if "--host" in able.flags:
        assert argv[argv.index("--host") + 1] == "127.0.0.1"


def test_only_options_that_the_binary_lists_are_used(adapter: Adapter, one: InstanceSpec, able: Capabilities) -> None:
    used = {word for word in rendered(adapter, one, able).argv if word.startswith("-")}
    assert used <= able.flags | {"--port"}


def test_an_option_that_the_binary_lacks_is_named_with_its_version(
    adapter: Adapter, one: InstanceSpec, able: Capabilities
) -> None:
    if "--port" not in able.flags:
        pytest.skip("its options are the manifest's")
    with pytest.raises(EngineFlagUnknown) as caught:
        rendered(adapter, one, replace(able, flags=able.flags - {"--port"}))
    assert caught.value.metadata == {"flag": "--port", "version": "1.2"}


def test_a_setting_is_carried_out_or_refused_but_never_dropped(
    adapter: Adapter, one: InstanceSpec, able: Capabilities
) -> None:
    if not adapter.traits.needs_model:
        pytest.skip("it takes no settings")
    wanted = replace(one, settings=EngineSettings(threads=31))
    assert _refused(adapter, wanted) or "31" in rendered(adapter, wanted, able).argv


def _refused(adapter: Adapter, wanted: InstanceSpec) -> bool:
    try:
        adapter.check(wanted)
    except Refusal as refusal:
        return "threads" in refusal.text
    return False


@pytest.mark.parametrize("settings", [EngineSettings(warm_up_prompts=("x",)), EngineSettings(prompt_cache="songs")])
def test_prompts_to_remember_are_taken_or_refused_but_never_dropped(
    adapter: Adapter, one: InstanceSpec, settings: EngineSettings
) -> None:
    wanted = replace(one, settings=settings)
    if Feature.PROMPT_CACHE in adapter.traits.features:
        check_caching(wanted, adapter.traits)
        return
    with pytest.raises(SpecInvalid) as caught:
        check_caching(wanted, adapter.traits)
    assert caught.value.remedy


def test_it_is_told_where_to_keep_what_slots_hold_if_it_can(
    adapter: Adapter, one: InstanceSpec, able: Capabilities
) -> None:
    if Feature.SLOT_SAVE not in adapter.traits.features:
        pytest.skip("it is never told")
    folder = Path("/kept/songs")
    known = replace(able, flags=able.flags | {"--slot-save-path"})
    command = managed(adapter).render(one, ENGINE, known, replace(AT, cache=folder), SCRATCH)
    assert command.keeps_slots
    assert str(folder) in command.argv
    assert not adapter.render(one, ENGINE, known, AT, SCRATCH).keeps_slots
    assert not adapter.render(one, ENGINE, able, replace(AT, cache=folder), SCRATCH).keeps_slots


async def test_what_does_not_answer_says_why_nothing_was_kept_or_read(adapter: Adapter, one: InstanceSpec) -> None:
    line = Line(1, "key", SHORT)
    for asked in (
        adapter.warm_up(one, line, "x", 0),
        adapter.save_slot(line, 0, "f"),
        adapter.restore_slot(line, 0, "f"),
    ):
        with pytest.raises(NoAnswer) as caught:
            await asked
        assert str(caught.value)


def test_nothing_of_the_agents_environment_passes_but_what_is_listed(
    adapter: Adapter, one: InstanceSpec, able: Capabilities, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ANOTHERS.items():
        monkeypatch.setenv(name, value)
    command = rendered(adapter, one, able)
    assert not ANOTHERS.keys() & command.env.keys()
    assert command.env["HOME"] == str(SCRATCH)


def test_the_key_is_named_by_its_file_alone(
    adapter: Adapter, one: InstanceSpec, able: Capabilities, tmp_path: Path
) -> None:
    (tmp_path / "api.key").write_text("the-secret\n")
    command = managed(adapter).render(one, ENGINE, able, Endpoint(1, tmp_path / "api.key"), SCRATCH)
    assert not any("the-secret" in word for word in (*command.argv, *command.env.values()))


async def test_where_nothing_listens_it_is_silent_and_counts_nothing(adapter: Adapter, one: InstanceSpec) -> None:
    assert await adapter.readiness(one, 1, "key", SHORT) is Readiness.SILENT
    assert await adapter.gauges(one, 1, "key", SHORT) == Gauges()


async def test_an_engine_that_says_little_is_used_all_the_same(adapter: Adapter, one: InstanceSpec) -> None:
    assert isinstance(await adapter.in_use(one, 1, "key", SHORT, ()), InUse)


def test_a_log_without_a_known_line_tells_nothing(adapter: Adapter) -> None:
    assert adapter.classify(["all is well"]) is None
    assert not adapter.port_was_taken(["all is well"])


def test_want_of_memory_is_worth_another_try_and_an_unknown_option_is_not(adapter: Adapter) -> None:
    short = adapter.classify(["RuntimeError: CUDA error: out of memory"])
    wrong = adapter.classify(["error: invalid argument: --nothing"])
    assert short is not None
    assert wrong is not None
    assert (short.problem.reason, short.hopeless) == ("MEMORY_INSUFFICIENT", False)
    assert (wrong.problem.reason, wrong.hopeless) == ("ENGINE_FLAG_UNKNOWN", True)
    assert short.problem.remedy


def test_what_is_not_there_is_no_candidate(adapter: Adapter, tmp_path: Path) -> None:
    with pytest.raises(EngineNotFound) as caught:
        adapter.candidate(tmp_path / "nothing")
    assert caught.value.remedy


def test_trust_covers_the_program_itself(adapter: Adapter, tmp_path: Path) -> None:
    program = tmp_path / "engine"
    program.write_text("#!/bin/false\n")
    program.chmod(0o700)
    found = managed(adapter).candidate(program)
    assert (found.adapter, found.files[0]) == (adapter.id, program)
    assert str(program) in found.command
