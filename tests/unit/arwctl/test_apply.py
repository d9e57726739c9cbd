from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from arw.v1 import instance_pb2, runtime_pb2, runtime_service_pb2
from arwctl import tiny_model, tiny_projector
from arwctl.exit_codes import ExitCode
from control_plane.domain.manifest import ManifestForm
from control_plane.domain.runtime import ExternalSettings
from control_plane.manifests.reader import Reader
from tests.fakes.operator_api import OperatorApi, RefusedManifest
from tests.unit.arwctl.conftest import EVIL, Arwctl, runtime

MANIFEST = """
version = 1
[[models]]
id = "tiny"
path = "tiny.gguf"
[[runtimes]]
id = "tiny"
"""


def change(of: runtime_pb2.Runtime) -> runtime_service_pb2.WatchRuntimesResponse:
    return runtime_service_pb2.WatchRuntimesResponse(runtime=of)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    tiny_model.write(tmp_path / "tiny.gguf")
    path = tmp_path / "tiny.toml"
    path.write_text(MANIFEST)
    return path


async def test_apply_registers_the_models_first(run: Arwctl, state: Path, api: OperatorApi, manifest: Path) -> None:
    api.runtimes = [runtime()]
    said = await run("runtime", "apply", "-f", manifest, "--context", state / "context.json")
    assert said.code == 0
    assert said.out == "llama.cpp-preview/cpu: created\n"
    created, applied = api.calls
    assert created.model_id == "tiny"
    assert created.model.path == str(manifest.parent / "tiny.gguf")
    assert len(created.model.sha256) == 64
    assert created.model.size_bytes == (manifest.parent / "tiny.gguf").stat().st_size
    assert applied.content == MANIFEST.encode()
    assert applied.source == "tiny.toml"


@pytest.fixture
def typed(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest comes by standard input, and its folder is the working directory."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(manifest.read_bytes())))
    monkeypatch.chdir(manifest.parent)


@pytest.mark.usefixtures("typed")
async def test_a_manifest_may_come_by_standard_input(run: Arwctl, state: Path, api: OperatorApi) -> None:
    api.runtimes = [runtime()]
    said = await run("runtime", "apply", "-f", "-", "--context", state / "context.json")
    assert said.code == 0, said.err
    created, applied = api.calls
    assert Path(created.model.path).name == "tiny.gguf"
    assert (applied.content, applied.source) == (MANIFEST.encode(), "stdin")


@pytest.mark.usefixtures("typed")
async def test_nothing_is_pruned_by_what_has_no_file_name(run: Arwctl, state: Path, api: OperatorApi) -> None:
    said = await run("runtime", "apply", "-f", "-", "--prune", "--context", state / "context.json")
    assert said.code == ExitCode.FAILED
    assert "--prune goes by the name" in said.err
    assert not api.calls


def seeing(manifest: Path) -> None:
    manifest.write_text(MANIFEST.replace('path = "tiny.gguf"', 'path = "tiny.gguf"\nprojector = "eyes.gguf"'))


async def test_a_model_brings_its_projector(run: Arwctl, state: Path, api: OperatorApi, manifest: Path) -> None:
    tiny_projector.write(manifest.parent / "eyes.gguf")
    seeing(manifest)
    api.runtimes = [runtime()]
    assert (await run("runtime", "apply", "-f", manifest, "--context", state / "context.json")).code == 0
    model = api.calls[0].model
    assert model.projector.path == str(manifest.parent / "eyes.gguf")
    assert len(model.projector.sha256) == 64
    (manifest.parent / "eyes.gguf").unlink()
    missing = await run("runtime", "apply", "-f", manifest, "--context", state / "context.json")
    assert "There is no model file at" in missing.err


def saying(manifest: Path, said: str) -> None:
    manifest.write_text(MANIFEST.replace('path = "tiny.gguf"', said))


async def test_a_file_that_is_declared_whole_may_lie_on_the_nodes_alone(
    run: Arwctl, state: Path, api: OperatorApi, manifest: Path
) -> None:
    said = f'path = "/far/away.gguf"\nsha256 = "{"ab" * 32}"\nsize_bytes = 7'
    saying(manifest, said)
    api.runtimes = [runtime()]
    assert (await run("runtime", "apply", "-f", manifest, "--context", state / "context.json")).code == 0
    model = api.calls[0].model
    assert (model.path, model.sha256, model.size_bytes, model.format) == ("/far/away.gguf", "ab" * 32, 7, "gguf")


async def test_a_file_that_is_here_has_to_be_what_is_declared(
    run: Arwctl, state: Path, api: OperatorApi, manifest: Path
) -> None:
    said = f'path = "tiny.gguf"\nsha256 = "{"ab" * 32}"\nsize_bytes = 7'
    saying(manifest, said)
    refused = await run("runtime", "apply", "-f", manifest, "--context", state / "context.json")
    assert refused.code == ExitCode.FAILED
    assert f"the manifest says {'ab' * 32} and 7" in refused.err
    assert api.calls == []


async def test_what_runs_already_is_attached_by_its_address(
    run: Arwctl, state: Path, api: OperatorApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARW_LLAMA_URL", "http://127.0.0.1:8080")
    api.runtimes = [runtime()]
    said = await run("runtime", "attach", "--id", "legacy", "--context", state / "context.json")
    assert said.code == 0
    manifest = Reader().read(api.calls[0].content, ManifestForm.JSON, "attach")
    assert manifest.runtimes[0].spec.external == ExternalSettings("http://127.0.0.1:8080")


async def test_validating_changes_nothing(run: Arwctl, state: Path, api: OperatorApi, manifest: Path) -> None:
    said = await run("runtime", "apply", "-f", manifest, "--validate-only", "--context", state / "context.json")
    assert said.code == 0
    assert [call.validate_only for call in api.calls] == [True]


async def test_a_refused_manifest_names_its_faults(run: Arwctl, state: Path, api: OperatorApi, manifest: Path) -> None:
    api.apply_refusal = RefusedManifest(
        "tiny.toml is refused: line 7: runtimes[0].adaptor: unknown key.", "Correct it."
    )
    said = await run("runtime", "apply", "-f", manifest, "--context", state / "context.json")
    assert said.code == ExitCode.FAILED
    assert "adaptor: unknown key" in said.err
    assert "next:  Correct it." in said.err


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "There is no model file at"), (b"", "is no GGUF file"), (b"PK\x03\x04 zip", "is no GGUF file")],
)
async def test_a_model_file_that_is_missing_or_no_gguf_stops_before_any_call(
    run: Arwctl, state: Path, api: OperatorApi, manifest: Path, *, content: bytes | None, reason: str
) -> None:
    model = manifest.parent / "tiny.gguf"
    model.unlink()
    if content is not None:
        model.write_bytes(content)
    said = await run("runtime", "apply", "-f", manifest, "--context", state / "context.json")
    assert said.code == ExitCode.FAILED
    assert reason in said.err
    assert "next:" in said.err
    assert api.calls == []


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("bad.toml", "version = = 1", "is not TOML"),
        ("bad.json", "{", "is not JSON"),
        ("bad.toml", "[[models]]\nid = 3", "models[0] needs an id and a path"),
        ("bad.toml", "models = 3", "models is not a list"),
        ("bad.json", "[" * 100_000, "is not JSON"),
    ],
)
async def test_a_manifest_that_cannot_be_read_is_named(
    run: Arwctl, state: Path, tmp_path: Path, *, name: str, text: str, reason: str
) -> None:
    (tmp_path / name).write_text(text)
    said = await run("runtime", "apply", "-f", tmp_path / name, "--context", state / "context.json")
    assert said.code == ExitCode.FAILED
    assert reason in said.err
    assert "next:  Correct the manifest" in said.err


async def test_wait_ends_when_every_runtime_serves(run: Arwctl, state: Path, api: OperatorApi, manifest: Path) -> None:
    api.runtimes = [runtime()]
    starting = runtime(instance_pb2.INSTANCE_STATE_STARTING)
    starting.instance.state_label = "Starting"
    api.watched = [change(starting), change(runtime())]
    said = await run("runtime", "apply", "-f", manifest, "--wait", "--context", state / "context.json")
    assert said.code == 0
    assert said.out.endswith("llama.cpp-preview/cpu: ready\n")
    assert said.err.splitlines() == ["llama.cpp-preview/cpu: Starting", "llama.cpp-preview/cpu: Ready"]


async def test_wait_is_not_fooled_by_the_state_of_an_older_generation(
    run: Arwctl, state: Path, api: OperatorApi, manifest: Path
) -> None:
    api.runtimes = [runtime()]
    api.runtimes[0].generation = 2
    api.watched = [change(runtime())]
    said = await run(
        "runtime", "apply", "-f", manifest, "--wait", "--timeout", "0.3s", "--context", state / "context.json"
    )
    assert said.code == ExitCode.TIMEOUT
    assert "did not become ready within 0.3 s; last: Ready" in said.err
    assert "arwctl runtime explain llama.cpp-preview/cpu" in said.err


async def test_wait_prints_why_a_runtime_failed_with_its_log_tail(
    run: Arwctl, state: Path, api: OperatorApi, manifest: Path
) -> None:
    failed = runtime(instance_pb2.INSTANCE_STATE_ERROR)
    failed.instance.problem.text = "The engine exited before it was ready, with code 1."
    failed.instance.problem.remedy = "Read its log."
    failed.instance.last_exit.log_tail.append(f"error: bad magic {EVIL}")
    api.runtimes, api.watched = [runtime()], [change(failed)]
    said = await run("runtime", "apply", "-f", manifest, "--wait", "--context", state / "context.json")
    assert said.code == ExitCode.FAILED
    assert "error: llama.cpp-preview/cpu failed: The engine exited before it was ready, with code 1." in said.err
    assert "| error: bad magic" in said.err
    assert "\x1b" not in said.err
    assert said.err.endswith("next:  Read its log.\n")


@pytest.mark.parametrize(
    ("words", "before"),
    [([], instance_pb2.INSTANCE_STATE_ERROR), (["--restart"], instance_pb2.INSTANCE_STATE_READY)],
    ids=["an error", "ready, and restarted"],
)
async def test_a_restore_is_not_fooled_by_what_stood_before_it(
    run: Arwctl, state: Path, api: OperatorApi, words: list[str], before: instance_pb2.InstanceState.ValueType
) -> None:
    old, starting, new = runtime(before), runtime(instance_pb2.INSTANCE_STATE_STARTING), runtime()
    starting.instance.state_label = "Starting"
    new.instance.incarnation = old.instance.incarnation + 1
    api.runtimes, api.watched = [old], [change(old), change(starting), change(new)]
    said = await run("runtime", "restore", old.id, *words, "--wait", "--context", state / "context.json")
    assert said.code == 0, said.err
    assert said.err.splitlines() == ["llama.cpp-preview/cpu: Starting", "llama.cpp-preview/cpu: Ready"]
