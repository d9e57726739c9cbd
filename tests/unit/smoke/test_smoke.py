from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.smoke.choice import Facts, Way, choose, shortfall
from tests.smoke.machine_facts import CHECKLIST, gather
from tests.smoke.settings import GB, VISION_ROOT, MemoryRule, Mode, Settings, read
from tests.smoke.stack import GPU_IN_LOG, SmokeError, check_matrix
from tests.smoke.workspace import KEEP, prune, workspace

ROOMY = Facts(loopback=True, memory_available=64 * GB, model_bytes=2 * GB)
TIGHT = replace(ROOMY, memory_available=3 * GB)


def test_the_variables_and_their_defaults_are_those_of_the_documents() -> None:
    found = read({})
    assert found == Settings()
    assert (found.timeout_s, found.keep_recent, found.retention_s) == (600, 6, 604_800)
    assert found.memory == MemoryRule(factor=2.2, overhead=GB, reserve=GB, floor=0)


def test_the_own_timeout_wins_over_the_shared_one_and_zero_means_none() -> None:
    assert read({"SMOKE_TIMEOUT_SECS": "30"}).timeout_s == 30
    assert read({"SMOKE_TIMEOUT_SECS": "30", "RUNTIME_SMOKE_TIMEOUT_SECS": "5"}).timeout_s == 5
    assert read({"RUNTIME_SMOKE_TIMEOUT_SECS": "0", "SMOKE_TIMEOUT_SECS": "30"}).timeout_s is None


@pytest.mark.parametrize(("name", "value"), [("MODE", "fpga"), ("RUNTIME_SMOKE_MEM_FACTOR", "much")])
def test_a_variable_that_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        read({name: value})


def test_without_loopback_the_outcome_is_skipped_unless_it_is_required() -> None:
    blocked = replace(ROOMY, loopback=False)
    assert choose(Settings(), blocked).skipped
    assert not choose(Settings(require_loopback=True), blocked).skipped
    assert choose(Settings(require_loopback=True), blocked).way is None


def test_a_real_run_without_weights_prints_the_checklist_and_runs_nothing() -> None:
    choice = choose(Settings(mode=Mode.REAL), replace(ROOMY, model_bytes=None))
    assert (choice.way, choice.wants_weights) == (None, True)


@pytest.mark.parametrize(
    ("settings", "facts", "way"),
    [
        (Settings(), ROOMY, Way.STUB),
        (Settings(mode=Mode.REAL), ROOMY, Way.REAL),
        (Settings(mode=Mode.REAL), TIGHT, Way.STUB),
        (Settings(mode=Mode.GPU), ROOMY, Way.GPU),
        (Settings(mode=Mode.GPU), TIGHT, Way.SIMULATED_GPU),
        (Settings(mode=Mode.GPU, simulate_gpu=True), ROOMY, Way.SIMULATED_GPU),
        (Settings(mode=Mode.GPU, require_real_gpu=True), TIGHT, None),
        (Settings(mode=Mode.GPU, require_real_gpu=True, simulate_gpu=True), ROOMY, Way.GPU),
        (Settings(mode=Mode.GPU, memory=MemoryRule(bypassed=True)), TIGHT, Way.GPU),
    ],
)
def test_the_way_taken(settings: Settings, facts: Facts, way: Way | None) -> None:
    choice = choose(settings, facts)
    assert choice.way is way
    downgraded = way in {Way.STUB, Way.SIMULATED_GPU} and facts is TIGHT
    assert any("downgraded" in note for note in choice.notes) is downgraded


def test_the_variables_of_the_vision_smoke_are_those_of_the_documents() -> None:
    seen = {"ARW_SMOKE_MODE": "vision", "RUNTIME_SMOKE_ROOT": "/r"}
    assert read(seen) == Settings(vision=True, root=VISION_ROOT)
    named = {**seen, "VISION_SMOKE_ROOT": "/v", "ARW_SERVER_BIN": "/opt/arw-control-plane", "LLAMA_MMPROJ_PATH": "/p"}
    assert read(named) == Settings(
        vision=True, root=Path("/v"), server=Path("/opt/arw-control-plane"), projector=Path("/p")
    )
    assert read({"VISION_SMOKE_ROOT": "/v"}).root == Settings().root
    with pytest.raises(ValueError, match="ARW_SMOKE_MODE"):
        read({"ARW_SMOKE_MODE": "audio"})
    with pytest.raises(ValueError, match="MODE is 'gpu'"):
        read({**seen, "MODE": "gpu"})


SEEING = Settings(mode=Mode.REAL, vision=True)
WEIGHTS = replace(ROOMY, projector_bytes=GB // 2)


@pytest.mark.parametrize(
    ("settings", "facts", "way", "checklist"),
    [
        (Settings(vision=True), ROOMY, Way.TINY_VISION, False),
        (SEEING, WEIGHTS, Way.VISION, False),
        (SEEING, replace(WEIGHTS, memory_available=6 * GB), Way.TINY_VISION, False),
        (SEEING, ROOMY, None, True),
        (SEEING, replace(WEIGHTS, model_bytes=None), None, True),
        (Settings(vision=True), replace(ROOMY, lacks=("no llama.cpp",)), None, True),
    ],
)
def test_a_vision_smoke_runs_for_real_or_prints_what_it_lacks(
    settings: Settings, facts: Facts, way: Way | None, checklist: bool
) -> None:
    choice = choose(settings, facts)
    assert (choice.way, choice.wants_weights, choice.skipped) == (way, checklist, False)
    assert bool(choice.notes) is (way is not Way.VISION and (settings, facts) != (Settings(vision=True), ROOMY))


def test_a_vision_smoke_names_the_engine_and_the_server_that_are_not_there(tmp_path: Path) -> None:
    engine, server = tmp_path / "llama-server", tmp_path / "bin" / "arw-control-plane"
    facts = gather(Settings(vision=True, engine=engine, server=server))
    assert [note.split(" is ")[0] for note in facts.lacks] == ["LLAMA_SERVER_BIN", "ARW_SERVER_BIN"]
    for name in ("ARW_SMOKE_MODE", "VISION_SMOKE_ROOT", "ARW_SERVER_BIN", "LLAMA_MMPROJ_PATH"):
        assert name in CHECKLIST


def test_the_shortfall_names_both_figures() -> None:
    assert shortfall(MemoryRule(), 2 * GB, 7 * GB) == ""
    assert "needs about 5.4 GB, 2.0 GB may be used" in shortfall(MemoryRule(), 2 * GB, 3 * GB)
    assert "needs about 9.0 GB" in shortfall(MemoryRule(floor=9 * GB), 2 * GB, 8 * GB)


def test_old_runs_are_pruned_and_kept_ones_stay(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, keep_recent=3, retention_s=1000)
    for age, name in enumerate(["run.new", "run.old", "run.older", "run.kept"]):
        (tmp_path / name).mkdir()
        if name == "run.kept":
            (tmp_path / name / KEEP).touch()
        os.utime(tmp_path / name, (10_000 - 600 * age, 10_000 - 600 * age))
    assert {path.name for path in prune(settings, now=10_001)} == {"run.older"}
    assert {path.name for path in prune(settings, now=10_601)} == {"run.old"}
    with workspace(replace(settings, keep=True)) as folder:
        assert (folder / KEEP).exists()


def matrix(**status: object) -> dict[str, object]:
    whole = {"label": "Ready", "detail": ["x"], "aria_hint": "x", "severity_label": "Info"}
    entry = {"status": {**whole, **status}, "runtime": {"updated": "2026-01-01T00:00:00Z"}}
    return {"matrix": {"items": {"local": entry}, "ttl_seconds": 60}}


def test_a_matrix_that_says_nothing_to_a_screen_reader_fails() -> None:
    check_matrix(matrix())
    with pytest.raises(SmokeError, match="lacks aria_hint"):
        check_matrix(matrix(aria_hint=""))


def test_gpu_back_ends_are_recognised_in_logs() -> None:
    assert GPU_IN_LOG.search("ggml_cuda_init: found 1 CUDA device")
    assert GPU_IN_LOG.search("load_backend: loaded CPU backend") is None
