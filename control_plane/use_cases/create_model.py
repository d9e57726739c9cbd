from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath

from control_plane.domain import etag
from control_plane.domain.errors import AlreadyExists, InvalidArgument
from control_plane.domain.ids import ModelId, checked
from control_plane.domain.model import Model, ModelPart
from control_plane.use_cases import announcements
from control_plane.use_cases.once import Request, remember, repeated, request
from control_plane.use_cases.ports import Clock, Randomness, Store, Transaction
from control_plane.use_cases.rows import model_of, publish

MAX_PATH = 4096
FORMATS = ("gguf", "ggml", "onnx", "folder")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class NewModel:
    id: ModelId
    path: str
    sha256: str
    size_bytes: int
    format: str = "gguf"
    projector: ModelPart | None = None


@dataclass(frozen=True, slots=True)
class CreateModel:
    """Record where a model's file lies and its digest; the same again is no error.

    InvalidId, InvalidArgument; AlreadyExists when another is recorded and `replace` is not set.
    """

    store: Store
    clock: Clock
    randomness: Randomness

    async def __call__(self, new: NewModel, *, replace_existing: bool = False, request_id: str = "") -> Model:
        _check(new)
        asked = request("CreateModel", request_id, new, replace_existing)
        return await self.store.write(lambda tx: self._created(tx, new, replace_existing, asked))

    def _created(self, tx: Transaction, new: NewModel, replace_existing: bool, asked: Request) -> Model:
        if repeated(tx, asked) is not None:
            return model_of(tx, new.id)
        remember(tx, asked)
        existing = tx.models.get(new.id)
        if existing is not None and not replace_existing and as_registered(new, existing) != existing:
            raise AlreadyExists(
                f"Model {new.id} is registered with another file.", "Choose another id, or replace it.", model=new.id
            )
        return recorded(tx, new, self.randomness.uid(), self.clock.now())


def recorded(tx: Transaction, new: NewModel, uid: str, now: datetime) -> Model:
    """Register it, or in the place of what has its id; the same again changes nothing. `uid`: of one that is new."""
    existing = tx.models.get(new.id)
    if existing is None:
        return _saved(tx, _described(new, uid, now), now, "created")
    changed = as_registered(new, existing)
    return existing if changed == existing else _replaced(tx, changed, now)


def as_registered(new: NewModel, existing: Model) -> Model:
    """What would stand in the place of `existing`."""
    return replace(_described(new, existing.uid, None), create_time=existing.create_time)


def _check(new: NewModel) -> None:
    checked(new.id, "model")
    _check_file(ModelPart(new.path, new.sha256, new.size_bytes))
    if new.projector is not None:
        _check_file(new.projector)
    if new.format not in FORMATS:
        raise InvalidArgument(f"Format {new.format[:40]!r} is not known.", f"Use one of: {', '.join(FORMATS)}.")


def _check_file(file: ModelPart) -> None:
    if not PurePosixPath(file.path).is_absolute() or len(file.path) > MAX_PATH or "\0" in file.path:
        raise InvalidArgument(
            f"{file.path[:200]!r} is no absolute path.", "Give the file's absolute path on the nodes."
        )
    if not _SHA256.fullmatch(file.sha256):
        raise InvalidArgument("The digest is no SHA-256.", "Give 64 lower-case hexadecimal digits.")
    if file.size_bytes <= 0:
        raise InvalidArgument("The model's size is missing.", "Give the file's size in bytes.")


def _described(new: NewModel, uid: str, create_time: datetime | None) -> Model:
    model = Model(new.id, uid, "", new.path, new.sha256, new.size_bytes, new.format, create_time, new.projector)
    return replace(model, etag=etag.of_model(model))


def _saved(tx: Transaction, model: Model, now: datetime, change: str) -> Model:
    tx.models.put(model)
    tx.journal.append(announcements.model_changed(model, now, change))
    return model


def _replaced(tx: Transaction, model: Model, now: datetime) -> Model:
    """The nodes that have it learn of the new file in the same change."""
    saved = _saved(tx, model, now, "replaced")
    for runtime in tx.runtimes.all():
        if runtime.spec.model == model.id:
            publish(tx, runtime)
    return saved
