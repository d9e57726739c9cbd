"""For each adapter a spec that it can serve and what its engine says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from arwctl import tiny_model
from node_agent.domain.spec import (
    EngineSettings,
    ExternalSettings,
    HealthCheck,
    InstanceSpec,
    ModelFile,
    ProcessSettings,
)
from tests.fakes.instance_specs import model_at, spec

HELP = Path(__file__).parents[1] / "fixtures" / "help"
NO_MODEL = ModelFile("", "", "", 0)

LLAMA_SERVER = (HELP / "llamafile-0.10.txt").read_text() + "-dev, --device DEVICES  devices\n--mmproj FILE  file\n"
WHISPER_SERVER = """\
  -h,        --help              [default] show this help message and exit
  -t N,      --threads N         [4      ] number of threads to use during computation
  -l LANG,   --language LANG     [en     ] spoken language ('auto' for auto-detect)
  -m FNAME,  --model FNAME       [models/ggml-base.en.bin] model path
  -ng,       --no-gpu            [false  ] do not use gpu
             --host HOST         [127.0.0.1] Hostname/ip-adress for the server
  --host HOST                    [127.0.0.1] Hostname/ip-adress for the server
  --port PORT                    [8080   ] Port number for the server
  --inference-path PATH          [/inference] Inference path for all requests
"""


@dataclass(frozen=True, slots=True)
class Case:
    """`spec` makes files in the folder that it is given."""

    adapter: str
    help_text: str
    spec: Callable[[Path], InstanceSpec]


def _gguf(folder: Path, adapter: str) -> InstanceSpec:
    return spec(adapter=adapter, model=model_at(tiny_model.write(folder / "tiny.gguf")))


def _folder(folder: Path, adapter: str, name: str, key: str, settings: EngineSettings) -> InstanceSpec:
    (folder / name).write_text(json.dumps({key: {}}))
    return spec(adapter=adapter, model=model_at(folder / name), settings=settings)


def _voice(folder: Path) -> InstanceSpec:
    (folder / "en_GB-test-low.onnx").write_bytes(b"onnx")
    (folder / "en_GB-test-low.onnx.json").write_text("{}")
    return spec(adapter="piper", model=model_at(folder / "en_GB-test-low.onnx"))


def _whisper(folder: Path) -> InstanceSpec:
    from arwctl import tiny_speech_model

    return spec(adapter="whisper.cpp", model=model_at(tiny_speech_model.write(folder / "ggml-tiny.bin")))


def _process(_: Path) -> InstanceSpec:
    process = ProcessSettings(("/opt/program", "--port", "{port}"), health=HealthCheck("/health"))
    return spec(adapter="process", model=NO_MODEL, process=process)


def _external(_: Path) -> InstanceSpec:
    return spec(adapter="external", model=NO_MODEL, external=ExternalSettings("http://127.0.0.1:1"))


VLLM_SETTINGS = EngineSettings(context_length=4096, slots=8)
CASES = {
    case.adapter: case
    for case in (
        Case("external", "", _external),
        Case("llama.cpp", LLAMA_SERVER, lambda folder: _gguf(folder, "llama.cpp")),
        Case("llamafile", (HELP / "llamafile-0.10.txt").read_text(), lambda folder: _gguf(folder, "llamafile")),
        Case(
            "onnxruntime",
            (HELP / "onnxruntime-contract.txt").read_text(),
            lambda folder: _folder(folder, "onnxruntime", "genai_config.json", "model", EngineSettings()),
        ),
        Case("piper", (HELP / "piper-1.8.0.txt").read_text(), _voice),
        Case("process", "", _process),
        Case(
            "vllm",
            (HELP / "vllm-0.33.0.txt").read_text(),
            lambda folder: _folder(folder, "vllm", "config.json", "architectures", VLLM_SETTINGS),
        ),
        Case("whisper.cpp", WHISPER_SERVER, _whisper),
    )
}
