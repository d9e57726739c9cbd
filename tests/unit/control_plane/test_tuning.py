from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.domain.accelerator import Accelerator, AcceleratorKind
from control_plane.domain.node import NodeInventory
from control_plane.domain.profile import Profile, under
from control_plane.domain.runtime import EngineSettings, Intents, RuntimeSpec
from control_plane.domain.tuning import GB, filled, tuned
from tests.fakes.control_plane import a_model, a_spec

CUDA = AcceleratorKind.GPU_CUDA
BIG = a_model(size_bytes=70 * GB)
SMALL = a_model(size_bytes=4 * GB)


def machine(cores: int = 8, memory_gb: int = 32, vram_gb: int = 0, **more: object) -> NodeInventory:
    card = Accelerator("card", CUDA, memory_bytes=vram_gb * GB, unified_memory=bool(more.get("unified")))
    return NodeInventory(cpu_cores=cores, memory_bytes=memory_gb * GB, accelerators=(card,) if vram_gb else ())


def profiled(profile: Intents, adapter: str = "llama.cpp", **settings: int) -> RuntimeSpec:
    said = EngineSettings(**settings)  # type: ignore[arg-type]
    return under(Profile("own", profile), a_spec(adapter=adapter, profile="own", settings=said), Intents(said))


TUNED = profiled(Intents(tuning=True))


def test_without_a_profile_nothing_is_chosen() -> None:
    assert tuned(a_spec(profile="label"), BIG, machine(vram_gb=16)) == EngineSettings()


@pytest.mark.parametrize(("share", "cores", "threads"), [(25, 8, 2), (50, 7, 3), (100, 8, 8), (1, 2, 1), (75, 1, 1)])
def test_a_share_of_the_cores_is_at_least_one_thread(share: int, cores: int, threads: int) -> None:
    assert tuned(profiled(Intents(threads_share=share)), None, machine(cores)) == EngineSettings(threads=threads)


def test_a_node_that_does_not_say_how_much_it_has_leaves_it_to_the_engine() -> None:
    assert tuned(profiled(Intents(threads_share=50, tuning=True)), SMALL, NodeInventory()) == EngineSettings()


@pytest.mark.parametrize(("memory_gb", "context"), [(128, 8192), (64, 8192), (63, 4096), (16, 2048), (2, 1024)])
def test_the_context_goes_by_the_memory(memory_gb: int, context: int) -> None:
    assert tuned(TUNED, SMALL, machine(memory_gb=memory_gb)) == EngineSettings(threads=8, context_length=context)


def test_vllm_goes_by_the_memory_of_the_device_and_takes_no_threads() -> None:
    spec = profiled(Intents(tuning=True), "vllm")
    assert tuned(spec, SMALL, machine(vram_gb=80)) == EngineSettings(context_length=32768)
    assert tuned(spec, SMALL, machine(memory_gb=128)) == EngineSettings(context_length=8192)


@pytest.mark.parametrize(("vram_gb", "layers"), [(80, None), (48, 60), (24, 40), (16, 20), (12, 12), (6, 8)])
def test_a_model_that_does_not_fit_into_the_device_is_put_there_in_part(vram_gb: int, layers: int | None) -> None:
    assert tuned(TUNED, BIG, machine(vram_gb=vram_gb)).gpu_layers == layers


def test_what_fits_or_shares_the_machines_memory_or_runs_on_the_processor_is_left_to_the_engine() -> None:
    assert tuned(TUNED, SMALL, machine(vram_gb=16)).gpu_layers is None
    assert tuned(TUNED, BIG, machine(vram_gb=16, unified=True)).gpu_layers is None
    assert tuned(replace(TUNED, accelerator=AcceleratorKind.CPU), BIG, machine(vram_gb=16)).gpu_layers is None
    assert tuned(replace(TUNED, accelerator=AcceleratorKind.GPU_ROCM), BIG, machine(vram_gb=16)).gpu_layers is None


def test_what_anybody_says_is_not_chosen() -> None:
    said = profiled(Intents(threads_share=25, tuning=True), threads=3, context_length=512)
    assert tuned(said, BIG, machine(vram_gb=16)) == EngineSettings(gpu_layers=20)
    assert filled(said.settings, EngineSettings(threads=9, slots=2)) == replace(said.settings, slots=2)


def test_an_adapter_is_told_only_what_it_has_words_for() -> None:
    assert tuned(profiled(Intents(tuning=True), "whisper.cpp"), SMALL, machine()) == EngineSettings(threads=8)
    assert tuned(profiled(Intents(tuning=True, threads_share=50), "piper"), SMALL, machine()) == EngineSettings()
