"""Manifests in TOML and JSON: strict, and with the line of each fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from msgspec import UNSET, UnsetType

from control_plane.domain import labels
from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.errors import InvalidId
from control_plane.domain.execution import MODES, ExecutionMode, ExecutionSettings
from control_plane.domain.ids import MAX_LENGTH, ModelId, RuntimeId, checked
from control_plane.domain.manifest import (
    MAX_RUNTIMES,
    Fault,
    Manifest,
    ManifestFile,
    ManifestForm,
    ManifestModel,
    ManifestRuntime,
    manifest_invalid,
)
from control_plane.domain.runtime import (
    EngineSettings,
    ExternalSettings,
    HealthCheck,
    PlacementSettings,
    ProcessSettings,
    RestartPolicy,
    RuntimeSpec,
)
from control_plane.domain.runtime_set import MAX_REPLICAS, replica_id
from control_plane.manifests.adapters import check_adapter
from control_plane.manifests.parse import parse
from control_plane.manifests.shapes import (
    MAX_PROMPT_BYTES,
    Document,
    External,
    ModelEntry,
    Placement,
    Process,
    RuntimeEntry,
    Settings,
)
from control_plane.manifests.texts import unfit
from wire.positions import Lines, line_of, spot_of
from wire.strict import Check, Path, shown

T = TypeVar("T")

VERSION = 1
LONGEST_MOVE_AFTER = timedelta(days=365)
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
ACCELERATORS = {kind.value: kind for kind in AcceleratorKind if kind.value} | {
    "cuda": AcceleratorKind.GPU_CUDA,
    "rocm": AcceleratorKind.GPU_ROCM,
    "metal": AcceleratorKind.GPU_METAL,
    "vulkan": AcceleratorKind.GPU_VULKAN,
    "directml": AcceleratorKind.NPU_DIRECTML,
    "coreml": AcceleratorKind.NPU_COREML,
    "npu": AcceleratorKind.NPU_OTHER,
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Fills the port ManifestReader."""

    def read(self, content: bytes, form: ManifestForm, source: str) -> Manifest:
        data, lines = parse(content, form, source)
        check = Check()
        for path, text in unfit(data):
            check.note(path, text)
        if check.misfits:
            raise manifest_invalid(source, _faults(check, lines))
        document = check.struct(data, Document, ())
        if document is not None:
            _check_meaning(document, check)
        if check.misfits or document is None:
            raise manifest_invalid(source, _faults(check, lines))
        return _manifest(document, lines, source)


def _faults(check: Check, lines: Lines) -> list[Fault]:
    found = [Fault(m.text, shown(m.path), *spot_of(lines, m.path)) for m in check.misfits]
    return sorted(found, key=lambda fault: (fault.line, fault.column, fault.key))


def _check_meaning(document: Document, check: Check) -> None:
    if document.version != VERSION:
        check.note(("version",), f"must be {VERSION}, not {document.version}")
    _check_entries("models", "model", document.models, check)
    _check_entries("runtimes", "runtime", document.runtimes, check)
    asked = sum(entry.replicas for entry in document.runtimes)
    if asked > MAX_RUNTIMES:
        check.note(("runtimes",), f"has {asked} with all replicas, at most {MAX_RUNTIMES} are allowed")
    for index, entry in enumerate(document.runtimes):
        _check_runtime(entry, ("runtimes", index), check)
    for index, model in enumerate(document.models):
        _check_model(model, ("models", index), check)


def _check_entries(list_name: str, what: str, entries: Sequence[RuntimeEntry | ModelEntry], check: Check) -> None:
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        path = (list_name, index, "id")
        _check_id(entry.id, what, path, check)
        if entry.id in seen:
            check.note(path, f"{entry.id!r} stands twice")
        seen.add(entry.id)


def _check_model(entry: ModelEntry, path: Path, check: Check) -> None:
    if bool(entry.sha256) != bool(entry.size_bytes):
        check.note(path, "has sha256 or size_bytes, and not both")
    if bool(entry.projector_sha256) != bool(entry.projector_size_bytes):
        check.note(path, "has projector_sha256 or projector_size_bytes, and not both")
    if entry.projector_sha256 and not entry.projector:
        check.note((*path, "projector_sha256"), "is of a projector, and none is named")


def _check_runtime(entry: RuntimeEntry, path: Path, check: Check) -> None:
    if entry.model:
        _check_id(_model_id(entry), "model", (*path, "model"), check)
    check_adapter(entry, path, check)
    if entry.accelerator and entry.accelerator not in ACCELERATORS:
        known = ", ".join(sorted(ACCELERATORS))
        check.note((*path, "accelerator"), f"does not know {entry.accelerator[:64]!r}; known are {known}")
    if len(set(entry.modalities)) < len(entry.modalities):
        check.note((*path, "modalities"), "names a modality twice")
    _check_execution(entry, path, check)
    if entry.replicas > 1 and len(replica_id(RuntimeId(entry.id), MAX_REPLICAS)) > MAX_LENGTH:
        check.note((*path, "id"), f"is too long for what has replicas: '.{MAX_REPLICAS}' has to fit behind it")
    after = _placement(entry.placement).move_after
    if after is not None and after > LONGEST_MOVE_AFTER:
        check.note((*path, "placement", "on_disconnect"), f"must be at most {LONGEST_MOVE_AFTER.days}d")
    if entry.settings.pooling is not UNSET and entry.settings.embeddings is not True:
        check.note((*path, "settings", "pooling"), "needs embeddings = true")
    _check_warm_up(entry.settings, (*path, "settings"), check)
    for text in labels.faults(entry.node_selector):
        check.note((*path, "node_selector"), text)


def _check_warm_up(settings: Settings, path: Path, check: Check) -> None:
    prompts = _or_none(settings.warm_up_prompts) or ()
    if prompts and settings.embeddings is True:
        check.note((*path, "warm_up_prompts"), "is for engines that generate, not with embeddings = true")
    if settings.prompt_cache is not UNSET and not prompts:
        check.note((*path, "prompt_cache"), "needs warm_up_prompts: it shares what was read of them")
    for index, prompt in enumerate(prompts):
        if len(prompt.encode()) > MAX_PROMPT_BYTES:
            check.note((*path, "warm_up_prompts", index), f"must have at most {MAX_PROMPT_BYTES} bytes")


def _check_execution(entry: RuntimeEntry, path: Path, check: Check) -> None:
    if len(set(entry.modes)) < len(entry.modes):
        check.note((*path, "modes"), "names a mode twice")
    if entry.modes and entry.preferred_mode is not UNSET and entry.preferred_mode not in entry.modes:
        check.note((*path, "preferred_mode"), f"is {entry.preferred_mode!r}, which is not among modes")
    if entry.image and entry.modes and ExecutionMode.CONTAINER not in entry.modes:
        check.note((*path, "image"), "is for containers, and 'container' is not among modes")


def _check_id(text: str, what: str, path: Path, check: Check) -> None:
    try:
        checked(text, what)
    except InvalidId as refusal:
        check.note(path, f"{refusal.text.rstrip('.')} ({refusal.remedy.rstrip('.')})")


def _manifest(document: Document, lines: Lines, source: str) -> Manifest:
    return Manifest(
        runtimes=tuple(
            ManifestRuntime(RuntimeId(entry.id), _spec(entry), line_of(lines, ("runtimes", index)))
            for index, entry in enumerate(document.runtimes)
        ),
        models=tuple(_model(entry, line_of(lines, ("models", index))) for index, entry in enumerate(document.models)),
        source=source,
    )


def _model(entry: ModelEntry, line: int) -> ManifestModel:
    projector = ManifestFile(entry.projector, entry.projector_sha256, entry.projector_size_bytes)
    return ManifestModel(
        ModelId(entry.id),
        ManifestFile(entry.path, entry.sha256, entry.size_bytes),
        projector if entry.projector else None,
        _or_none(entry.format) or "",
        line,
    )


def _spec(entry: RuntimeEntry) -> RuntimeSpec:
    return RuntimeSpec(
        adapter=entry.adapter,
        model=ModelId(_model_id(entry)),
        display_name=entry.name,
        profile=entry.profile,
        modalities=entry.modalities,
        accelerator=ACCELERATORS.get(entry.accelerator, AcceleratorKind.UNSPECIFIED),
        on_missing_accelerator=entry.on_missing_accelerator,
        auto_start=entry.auto_start,
        preset=entry.preset,
        tags=dict(entry.tags),
        settings=_settings(entry.settings),
        restart=RestartPolicy(entry.restart.max_restarts, timedelta(seconds=entry.restart.window_seconds)),
        node_selector=dict(entry.node_selector),
        process=_process(entry.process) if entry.process is not None else None,
        external=_external(entry.external) if entry.external is not None else None,
        execution=_execution(entry),
        placement=_placement(entry.placement),
        replicas=entry.replicas,
    )


def _placement(given: Placement) -> PlacementSettings:
    """On disconnect: "keep", or "move_after:" with a number and its unit."""
    after = given.on_disconnect.partition(":")[2]
    return PlacementSettings(given.strategy, int(after[:-1]) * _UNITS[after[-1]] if after else None)


def _execution(entry: RuntimeEntry) -> ExecutionSettings:
    modes = tuple(mode for mode in MODES if mode in entry.modes)
    return ExecutionSettings(modes, ExecutionMode(_or_none(entry.preferred_mode) or ""), entry.image)


def _process(given: Process) -> ProcessSettings:
    return ProcessSettings(
        command=given.command,
        env=dict(given.env),
        working_directory=given.working_directory,
        port=given.port,
        health=HealthCheck(given.health.path, given.health.expect_status, given.health.expect_body),
        openai=given.openai,
    )


def _external(given: External) -> ExternalSettings:
    return ExternalSettings(given.url, given.health_path, given.model)


def _settings(given: Settings) -> EngineSettings:
    return EngineSettings(
        context_length=_or_none(given.context_length),
        slots=_or_none(given.slots),
        threads=_or_none(given.threads),
        gpu_layers=_or_none(given.gpu_layers),
        batch_size=_or_none(given.batch_size),
        embeddings=_or_none(given.embeddings),
        pooling=_or_none(given.pooling),
        warm_up=_or_none(given.warm_up),
        warm_up_prompts=_or_none(given.warm_up_prompts) or None,
        prompt_cache=_or_none(given.prompt_cache),
    )


def _model_id(entry: RuntimeEntry) -> str:
    """Both "tiny/q4" and "models/tiny__q4" name the same model."""
    name = entry.model.removeprefix("models/")
    return name.replace("__", "/") if name != entry.model else name


def _or_none(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value
