from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from arwctl import tiny_speech_model
from node_agent.domain.errors import (
    EngineFlagUnknown,
    EngineIdentityMismatch,
    EngineNotFound,
    ModelFileInvalid,
    ModelFileMissing,
)
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import EngineSettings, InstanceSpec, ModelFile
from node_agent.runtimes.ggml import MAGIC, parse_head
from node_agent.runtimes.gguf import Malformed
from node_agent.runtimes.kinds.adapter import Capabilities, Command, Endpoint
from node_agent.runtimes.kinds.flags import flags_of
from node_agent.runtimes.kinds.registry import known_adapters
from node_agent.runtimes.kinds.whisper_cpp import WhisperCpp
from node_agent.runtimes.kinds.whisper_files import FRONT
from tests.fakes.instance_specs import model_at, spec
from tests.fakes.local_node import TIMERS

HELP = """
usage: /opt/whisper-server [options]

options:
  -h,        --help                      [default] show this help message and exit
  -t N,      --threads N                 [4      ] number of threads to use during computation
  -l LANG,   --language LANG             [en     ] spoken language ('auto' for auto-detect)
             --prompt PROMPT             [       ] initial prompt
  -m FNAME,  --model FNAME               [models/ggml-base.en.bin] model path
  --host HOST,                           [127.0.0.1] Hostname/ip-adress for the server
  --port PORT,                           [8080   ] Port number for the server
  --inference-path PATH,                 [/inference] Inference path for all requests
  --convert,                             [false  ] Convert audio to WAV, requires ffmpeg on the server
  -ng,       --no-gpu                    [false  ] do not use gpu
"""
BINARY = Capabilities("", flags_of(HELP))
ENGINE = Engine("whisper.cpp", ("/opt/whisper-server",), (("/opt/whisper-server", "00"),))
AT = Endpoint(4711, Path("/run/key"))
SIZES = (51865, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1)


@pytest.fixture
def tiny(tmp_path: Path) -> ModelFile:
    return model_at(tiny_speech_model.write(tmp_path / "tiny.bin"))


def speech(tiny: ModelFile, **changes: object) -> InstanceSpec:
    return spec(adapter="whisper.cpp", model=tiny, **changes)


def rendered(one: InstanceSpec, able: Capabilities = BINARY) -> Command:
    return WhisperCpp().render(one, ENGINE, able, AT, Path("/scratch"))


def value(argv: Sequence[str], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def head(*sizes: int) -> bytes:
    return MAGIC + struct.pack("<11i", *sizes)


def test_it_is_one_of_the_agents_adapters() -> None:
    assert isinstance(known_adapters()["whisper.cpp"], WhisperCpp)


def test_the_binary_serves_openais_path_on_loopback_and_recognises_the_language(tiny: ModelFile) -> None:
    argv = rendered(speech(tiny)).argv
    assert argv[0] == "/opt/whisper-server"
    flags = ("--model", "--host", "--port", "--inference-path", "--language")
    assert [value(argv, flag) for flag in flags] == [
        tiny.path, "127.0.0.1", "4711", "/v1/audio/transcriptions", "auto",
    ]  # fmt: skip
    assert not {"--api-key-file", "--alias", "--convert", "--no-gpu"} & set(argv)


async def test_the_front_says_what_it_can_and_gets_its_key_by_file(tiny: ModelFile) -> None:
    pytest.importorskip("_pywhispercpp")
    adapter = WhisperCpp()
    found = adapter.candidate(FRONT)
    able = await adapter.probe(Engine("whisper.cpp", found.command, ()))
    assert able.version.endswith("(pywhispercpp)")
    argv = rendered(speech(tiny, accelerator="cpu", settings=EngineSettings(threads=2, warm_up=False)), able).argv
    assert (value(argv, "--api-key-file"), value(argv, "--alias"), value(argv, "--threads")) == (
        "/run/key", "demo/tiny", "2",
    )  # fmt: skip
    assert {"--no-gpu", "--no-warmup"} <= set(argv)
    assert "--inference-path" not in argv


def test_trust_in_the_front_covers_its_files_and_the_wheels_libraries() -> None:
    pytest.importorskip("_pywhispercpp")
    files = WhisperCpp().candidate(FRONT).files
    assert files[0] == FRONT
    names = {file.name.partition(".")[0].partition("-")[0] for file in files}
    assert {"whisper_wheel", "whisper_server", "whisper_audio", "_pywhispercpp", "libwhisper", "libggml"} <= names


def test_trust_in_the_binary_covers_the_libraries_beside_it(tmp_path: Path) -> None:
    for name in ("whisper-server", "libwhisper.so.1", "libggml-base.so", "libc.so.6", "README"):
        (tmp_path / name).touch(0o755)
    files = WhisperCpp().candidate(tmp_path / "whisper-server").files
    assert [file.name for file in files] == ["whisper-server", "libggml-base.so", "libwhisper.so.1"]
    with pytest.raises(EngineNotFound):
        WhisperCpp().candidate(tmp_path / "none")


def test_an_intent_that_the_binary_cannot_carry_out_is_refused_by_name(tiny: ModelFile) -> None:
    able = replace(BINARY, flags=BINARY.flags - {"--no-gpu", "-ng"})
    with pytest.raises(EngineFlagUnknown, match="--no-gpu"):
        rendered(speech(tiny, accelerator="cpu"), able)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not start with ggml's mark"),
        (b"GGUF" + bytes(100), "does not start with ggml's mark"),
        (MAGIC + bytes(10), "ends in the middle of its head"),
        (head(50257, *SIZES[1:]), "not those of a whisper model"),
        (head(*SIZES[:9], 79, 1), "not those of a whisper model"),
        (head(*SIZES[:3], 0, *SIZES[4:]), "not those of a whisper model"),
        (head(*SIZES[:3], -1, *SIZES[4:]), "not those of a whisper model"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_why(tiny: ModelFile, tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "other.bin").write_bytes(content)
    with pytest.raises(ModelFileInvalid, match=why):
        WhisperCpp().check(speech(replace(tiny, path=str(tmp_path / "other.bin"))))
    with pytest.raises(Malformed, match=why):
        parse_head(content, len(content))


def test_a_missing_file_is_named_and_every_real_size_is_known(tiny: ModelFile) -> None:
    with pytest.raises(ModelFileMissing):
        WhisperCpp().check(speech(replace(tiny, path="/nowhere/tiny.bin")))
    assert parse_head(head(*SIZES), 100).multilingual
    assert parse_head(head(51866, 1500, 1280, 20, 32, 448, 1280, 20, 32, 128, 1), 100).audio_layers == 32


@pytest.mark.parametrize(
    ("line", "reason", "hopeless"),
    [
        ("ggml_backend_alloc: failed to allocate buffer", "MEMORY_INSUFFICIENT", False),
        ("couldn't bind to server socket: hostname=127.0.0.1 port=1", "PORT_UNAVAILABLE", False),
        ("error: unknown argument: --alias", "ENGINE_FLAG_UNKNOWN", True),
        ("whisper_init_from_file_with_params_no_state: failed to open '/m.bin'", "MODEL_FILE_MISSING", False),
        ("whisper_init_with_params_no_state: failed to load model", "MODEL_FILE_INVALID", True),
    ],
)
def test_the_log_tells_why_an_engine_ended(line: str, reason: str, hopeless: bool) -> None:
    log = ["whisper_model_load: loading model", line, "error: failed to initialize whisper context"]
    finding = WhisperCpp().classify(log)
    assert finding is not None
    assert (finding.problem.reason, finding.hopeless) == (reason, hopeless)
    assert WhisperCpp().port_was_taken(log) == (reason == "PORT_UNAVAILABLE")


async def test_what_the_engine_uses_is_read_from_its_log(tiny: ModelFile) -> None:
    one, patience = speech(tiny), TIMERS.probe_timeout
    gpu = ["whisper_backend_init_gpu: using CUDA0 backend"]
    assert (await WhisperCpp().in_use(one, 1, "", patience, gpu)).accelerator == "gpu_cuda"
    none = ["whisper_backend_init_gpu: no GPU found"]
    assert (await WhisperCpp().in_use(one, 1, "", patience, none)).accelerator == "cpu"


@asynccontextmanager
async def stranger(page: bytes) -> AsyncIterator[int]:
    """A server that knows no models, with this page at its root."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, body = (b"200 OK", page) if head.startswith(b"GET / ") else (b"404 Not Found", b"")
        writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_binary_is_known_by_the_page_that_names_its_path(tiny: ModelFile) -> None:
    async with stranger(b"<h2>/v1/audio/transcriptions</h2>") as port:
        await WhisperCpp().prove(speech(tiny), port, "key", TIMERS.probe_timeout)
    async with stranger(b"<h2>/inference</h2>") as port:
        with pytest.raises(EngineIdentityMismatch):
            await WhisperCpp().prove(speech(tiny), port, "key", TIMERS.probe_timeout)
    with pytest.raises(EngineIdentityMismatch):
        await WhisperCpp().prove(speech(tiny), port, "key", TIMERS.probe_timeout)
