"""Manifests in TOML and JSON: strict, and with the line of each fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from msgspec import UNSET

from control_plane.domain import labels
from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.errors import InvalidId, ManifestInvalid
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
from control_plane.domain.profile import Profile, under
from control_plane.domain.runtime import (
    ExternalSettings,
    HealthCheck,
    Intents,
    MissingAccelerator,
    Modality,
    PlacementSettings,
    ProcessSettings,
    RestartPolicy,
    RuntimeSpec,
)
from control_plane.domain.runtime_set import MAX_REPLICAS, replica_id
from control_plane.manifests.adapters import check_adapter
from control_plane.manifests.parse import parse
from control_plane.manifests.profiles import ProfileFiles, Profiles
from control_plane.manifests.read_settings import ACCELERATORS, or_none, settings_of
from control_plane.manifests.residence import check_residence, residence
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

VERSION = 1
LONGEST_MOVE_AFTER = timedelta(days=365)
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Reader:
    """Fills the port ManifestReader."""

    profiles: ProfileFiles = field(default_factory=ProfileFiles)

    def read(self, content: bytes, form: ManifestForm, source: str) -> Manifest:
        data, lines = parse(content, form, source)
        check = Check()
        for path, text in unfit(data):
            check.note(path, text)
        if check.misfits:
            raise manifest_invalid(source, _faults(check, lines))
        document = check.struct(data, Document, ())
        profiles: Profiles = {}
        if document is not None:
            _check_meaning(document, check)
            profiles = self._named(document)
            _check_profiles(document, profiles, check)
        if check.misfits or document is None:
            raise manifest_invalid(source, _faults(check, lines))
        found = {name: profile for name, profile in profiles.items() if isinstance(profile, Profile)}
        return _manifest(document, lines, source, found)

    def _named(self, document: Document) -> Profiles:
        """Read only where one is named: most manifests name none."""
        return self.profiles.read() if any(entry.profile for entry in document.runtimes) else {}


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


def _check_profiles(document: Document, profiles: Profiles, check: Check) -> None:
    for index, entry in enumerate(document.runtimes):
        path = ("runtimes", index, "profile")
        if entry.profile and entry.profile not in profiles:
            known = ", ".join(sorted(profiles))
            check.note(path, f"does not know {entry.profile[:64]!r}; known are {known}")
        elif isinstance(refusal := profiles.get(entry.profile), ManifestInvalid):
            check.note(path, f"{entry.profile!r} cannot be used: {refusal.text.rstrip('.')}")


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
    modalities = or_none(entry.modalities) or ()
    if len(set(modalities)) < len(modalities):
        check.note((*path, "modalities"), "names a modality twice")
    _check_execution(entry, path, check)
    check_residence(entry, path, check)
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
    prompts = or_none(settings.warm_up_prompts) or ()
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


def _manifest(document: Document, lines: Lines, source: str, profiles: Mapping[str, Profile]) -> Manifest:
    named = {entry.profile for entry in document.runtimes}
    return Manifest(
        runtimes=tuple(
            ManifestRuntime(RuntimeId(entry.id), _whole_spec(entry, profiles), line_of(lines, ("runtimes", index)))
            for index, entry in enumerate(document.runtimes)
        ),
        models=tuple(_model(entry, line_of(lines, ("models", index))) for index, entry in enumerate(document.models)),
        source=source,
        profiles=tuple(profile for name, profile in sorted(profiles.items()) if name in named),
    )


def _model(entry: ModelEntry, line: int) -> ManifestModel:
    projector = ManifestFile(entry.projector, entry.projector_sha256, entry.projector_size_bytes)
    return ManifestModel(
        ModelId(entry.id),
        ManifestFile(entry.path, entry.sha256, entry.size_bytes),
        projector if entry.projector else None,
        or_none(entry.format) or "",
        line,
    )


def _whole_spec(entry: RuntimeEntry, profiles: Mapping[str, Profile]) -> RuntimeSpec:
    if not entry.profile:
        return _spec(entry)
    said = Intents(
        settings_of(entry.settings),
        or_none(entry.modalities),
        ACCELERATORS.get(entry.accelerator),
        or_none(entry.on_missing_accelerator),
    )
    return under(profiles[entry.profile], _spec(entry), said)


def _spec(entry: RuntimeEntry) -> RuntimeSpec:
    return RuntimeSpec(
        adapter=entry.adapter,
        model=ModelId(_model_id(entry)),
        display_name=entry.name,
        profile=entry.profile,
        modalities=or_none(entry.modalities) or (Modality.TEXT,),
        accelerator=ACCELERATORS.get(entry.accelerator, AcceleratorKind.UNSPECIFIED),
        on_missing_accelerator=or_none(entry.on_missing_accelerator) or MissingAccelerator.DEGRADE,
        auto_start=entry.auto_start,
        preset=entry.preset,
        tags=dict(entry.tags),
        settings=settings_of(entry.settings),
        restart=RestartPolicy(entry.restart.max_restarts, timedelta(seconds=entry.restart.window_seconds)),
        node_selector=dict(entry.node_selector),
        process=_process(entry.process) if entry.process is not None else None,
        external=_external(entry.external) if entry.external is not None else None,
        execution=_execution(entry),
        placement=_placement(entry.placement),
        replicas=entry.replicas,
        residence=residence(entry),
    )


def _placement(given: Placement) -> PlacementSettings:
    """On disconnect: "keep", or "move_after:" with a number and its unit."""
    after = given.on_disconnect.partition(":")[2]
    return PlacementSettings(given.strategy, int(after[:-1]) * _UNITS[after[-1]] if after else None)


def _execution(entry: RuntimeEntry) -> ExecutionSettings:
    modes = tuple(mode for mode in MODES if mode in entry.modes)
    return ExecutionSettings(modes, ExecutionMode(or_none(entry.preferred_mode) or ""), entry.image)


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


def _model_id(entry: RuntimeEntry) -> str:
    """Both "tiny/q4" and "models/tiny__q4" name the same model."""
    name = entry.model.removeprefix("models/")
    return name.replace("__", "/") if name != entry.model else name
