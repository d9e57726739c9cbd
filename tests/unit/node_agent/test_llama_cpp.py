from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from arwctl import tiny_model
from node_agent.domain.errors import AcceleratorMissing, EngineFlagUnknown
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import EngineSettings, InstanceSpec, ModelFile
from node_agent.runtimes.kinds import llama_log
from node_agent.runtimes.kinds.adapter import Capabilities, Command, Endpoint
from node_agent.runtimes.kinds.flags import flags_of, version_of
from node_agent.runtimes.kinds.llama_cpp import LlamaCpp
from node_agent.runtimes.kinds.llama_help import devices_of
from tests.fakes.instance_specs import model_at, spec

HELP = """\
----- common params -----

-h,    --help, --usage                  print usage and exit
-m,    --model FNAME                    model path to load
-c,    --ctx-size N                     size of the prompt context (default: 0, see --nothing)
-np,   --parallel N                     number of server slots
-kvu,  --kv-unified, -no-kvu, --no-kv-unified
                                        use single unified KV buffer, unlike --other-thing
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers to store in VRAM
-dev,  --device <dev1,dev2,..>          devices to use
-lv,   --log-verbosity N                verbosity
-a,    --alias STRING                   set model name aliases
--host HOST                             ip address to listen on
--port PORT                             port to listen on
--api-key-file FNAME                    path to file containing API keys
-fit,  --fit [on|off]                   whether to adjust
--embedding, --embeddings               restrict to embeddings
--pooling {none,mean,cls,last,rank}     pooling type
--metrics                               metrics endpoint
--ui,  --webui, --no-ui, --no-webui     whether to enable the Web UI
"""
DEVICES = """\
Available devices:
  CUDA0: NVIDIA H200 (143771 MiB, 142000 MiB free)
  Vulkan1: AMD Radeon (8192 MiB, 8000 MiB free)
"""
ABLE = Capabilities(version_of("version: 0.7.0 (build 11669)\nbuilt with GNU\n"), flags_of(HELP))
ENGINE = Engine("llama.cpp", ("/opt/llama-server",), (("/opt/llama-server", "00"),))
AT = Endpoint(4711, Path("/run/key"))


@pytest.fixture
def tiny(tmp_path: Path) -> ModelFile:
    return model_at(tiny_model.write(tmp_path / "tiny.gguf"))


def rendered(one: InstanceSpec, able: Capabilities = ABLE) -> Command:
    return LlamaCpp().render(one, ENGINE, able, AT, Path("/scratch"))


def value(argv: Sequence[str], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_the_help_gives_every_spelling_and_no_words_about_others() -> None:
    flags = flags_of(HELP)
    assert {"-m", "--model", "--usage", "-no-kvu", "--no-kv-unified", "--fit", "--no-webui"} <= flags
    assert not {"--nothing", "--other-thing", "-----"} & flags


def test_devices_get_their_kind_from_the_engines_own_names() -> None:
    assert [(one.name, one.kind) for one in devices_of(DEVICES)] == [("CUDA0", "gpu_cuda"), ("Vulkan1", "gpu_vulkan")]
    assert devices_of("Available devices:\n  (none)\n") == ()
    assert ABLE.version == "0.7.0 (build 11669)"


def test_identity_and_place_are_always_given(tiny: ModelFile) -> None:
    argv = rendered(spec(model=tiny)).argv
    assert argv[0] == "/opt/llama-server"
    assert [value(argv, flag) for flag in ("--model", "--alias", "--host", "--port", "--api-key-file")] == [
        tiny.path,
        "demo/tiny",
        "127.0.0.1",
        "4711",
        "/run/key",
    ]


def test_the_context_of_a_slot_becomes_the_pool_of_all(tiny: ModelFile) -> None:
    argv = rendered(spec(model=tiny, settings=EngineSettings(slots=3, context_length=1000))).argv
    assert (value(argv, "--ctx-size"), value(argv, "--parallel")) == ("3000", "3")
    assert "--no-kv-unified" in argv


def test_safety_flags_are_used_when_known_and_left_out_when_not(tiny: ModelFile) -> None:
    argv = rendered(spec(model=tiny)).argv
    assert "--no-ui" in argv
    assert value(argv, "--fit") == "off"
    assert not {"--offline", "--cors-origins"} & set(argv)
    assert "--no-webui" in rendered(spec(model=tiny), replace(ABLE, flags=ABLE.flags - {"--no-ui"})).argv


def test_an_intent_that_the_binary_cannot_carry_out_is_refused_by_name_and_version(tiny: ModelFile) -> None:
    with pytest.raises(EngineFlagUnknown) as caught:
        rendered(spec(model=tiny, settings=EngineSettings(threads=2)))
    assert caught.value.metadata == {"flag": "--threads", "version": "0.7.0 (build 11669)"}
    assert "--threads" in caught.value.text


def test_embeddings_come_with_a_pooling(tiny: ModelFile) -> None:
    argv = rendered(spec(model=tiny, settings=EngineSettings(embeddings=True))).argv
    assert "--embeddings" in argv
    assert value(argv, "--pooling") == "mean"


def test_without_a_device_everything_stays_on_the_processor(tiny: ModelFile) -> None:
    argv = rendered(spec(model=tiny)).argv
    assert (value(argv, "--n-gpu-layers"), value(argv, "--device")) == ("0", "none")


def test_the_wanted_device_is_chosen_by_kind(tiny: ModelFile) -> None:
    able = replace(ABLE, devices=devices_of(DEVICES))
    argv = rendered(spec(model=tiny, accelerator="gpu_vulkan"), able).argv
    assert (value(argv, "--device"), value(argv, "--n-gpu-layers")) == ("Vulkan1", "999")
    assert value(rendered(spec(model=tiny, accelerator="cpu"), able).argv, "--device") == "none"


def test_a_missing_accelerator_degrades_or_fails_as_declared(tiny: ModelFile) -> None:
    wanted = spec(model=tiny, accelerator="gpu_cuda")
    assert rendered(wanted).missing_accelerator == "gpu_cuda"
    with pytest.raises(AcceleratorMissing):
        rendered(replace(wanted, degrade_on_missing_accelerator=False))


def test_the_environment_is_an_allow_list(tiny: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLAMA_ARG_HOST", "HF_TOKEN", "AIP_MODE", "LLAMA_SERVER_SLOTS_DEBUG", "ARW_STATE_DIR"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    env = rendered(spec(model=tiny)).env
    assert not {"LLAMA_ARG_HOST", "HF_TOKEN", "AIP_MODE", "LLAMA_SERVER_SLOTS_DEBUG", "ARW_STATE_DIR"} & env.keys()
    assert (env["CUDA_VISIBLE_DEVICES"], env["HOME"]) == ("1", "/scratch")


@pytest.mark.parametrize(
    ("line", "reason", "hopeless"),
    [
        ("ggml: cudaMalloc failed: out of memory", "MEMORY_INSUFFICIENT", False),
        ("E srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1", "PORT_UNAVAILABLE", False),
        ("error: invalid argument: --mlock", "ENGINE_FLAG_UNKNOWN", True),
        ("gguf_init_from_reader: invalid magic characters: 'hell'", "MODEL_FILE_INVALID", True),
        ("unknown model architecture: 'newthing'", "MODEL_FILE_INVALID", True),
        ("gguf_init_from_file: failed to open GGUF file 'x' (No such file)", "MODEL_FILE_MISSING", False),
    ],
)
def test_the_log_tells_why_an_engine_ended(line: str, reason: str, hopeless: bool) -> None:
    finding = LlamaCpp().classify(["I all well", line, "E exiting due to model loading error"])
    assert finding is not None
    assert (finding.problem.reason, finding.hopeless) == (reason, hopeless)
    assert finding.problem.remedy


def test_a_log_without_a_known_line_tells_nothing() -> None:
    assert LlamaCpp().classify(["I srv init: listening on http://127.0.0.1:1"]) is None


def test_what_the_engine_uses_is_read_from_its_log() -> None:
    lines = [
        "using device CUDA0 (NVIDIA H200) (0000:01:00.0) - 142000 MiB free",
        "load_tensors: offloaded 33/33 layers to GPU",
    ]
    assert llama_log.offloaded(lines) == ("gpu_cuda", "NVIDIA H200, 33 of 33 layers")
    assert llama_log.offloaded([lines[0], "offloaded 0/33 layers to GPU"]) is None
