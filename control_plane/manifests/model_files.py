"""The model files that manifests bring. What a manifest does not say of one is read from it, a slice at a time."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.domain.manifest import Fault, Manifest, ManifestFile, ManifestModel, manifest_invalid
from control_plane.domain.model import ModelPart
from control_plane.manifests.model_digests import ModelDigests, ModelMark
from control_plane.use_cases.create_model import NewModel

SLICE_SECONDS = 1.0
"""One look reads no longer, so that the next one is not kept waiting by a large file."""
BLOCK_BYTES = 1 << 22
MAGIC_BYTES = 4
_MAGIC = {b"GGUF": "gguf", b"lmgg": "ggml"}
_SUFFIXES = {".gguf": "gguf", ".bin": "ggml", ".onnx": "onnx"}
_NAMES = {"config.json": "folder", "genai_config.json": "folder"}
"""Files that stand for the folder they lie in."""


@dataclass(frozen=True, slots=True)
class Brought:
    models: dict[str, tuple[NewModel, ...]] = field(default_factory=dict)
    """By the manifest's source."""
    waits: str = ""
    """What is still being read; empty: everything is known."""


@dataclass(slots=True)
class _Reading:
    path: Path
    mark: ModelMark
    descriptor: int
    done: int = 0
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def progress(self) -> str:
        return f"{self.path} is being read: {100 * self.done // max(1, self.mark.size_bytes)} %"


class ModelFiles:
    """For one loop. Its calls belong on a thread."""

    def __init__(
        self, digests: ModelDigests, now_ns: Callable[[], int] = time.time_ns, slice_s: float = SLICE_SECONDS
    ) -> None:
        self._digests = digests
        self._now_ns = now_ns
        self._slice_s = slice_s
        self._reading: _Reading | None = None

    def brought(self, manifests: Sequence[Manifest]) -> Brought:
        """ManifestInvalid for the first manifest that brings something wrong."""
        until = time.monotonic() + self._slice_s
        unread = [path for manifest in manifests for path in self._checked(manifest)]
        try:
            for path in unread:
                if waits := self._read(path, until):
                    return Brought(waits=waits)
            self._digests.keep()
            return Brought({each.source: tuple(self._models(each)) for each in manifests if each.models})
        except OSError as error:
            # It went or changed just now; the next look says what is wrong with it.
            self._end()
            return Brought(waits=f"{error.filename}: {error.strerror}")

    def _checked(self, manifest: Manifest) -> list[Path]:
        """Its files that have to be read first."""
        faults: list[Fault] = []
        unread: list[Path] = []
        for model in manifest.models:
            for file in model.files:
                try:
                    unread += self._unread(model, file, _path(manifest, file))
                except (OSError, ValueError, RuntimeError) as error:
                    why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                    faults.append(Fault(f"{file.path}: {why}", f"model {model.id}", model.line))
        if faults:
            raise manifest_invalid(
                manifest.source,
                faults,
                "Correct the path, which is relative to the manifest; or say sha256 and size_bytes of a file that lies "
                "on the nodes alone.",
            )
        return unread

    def _unread(self, model: ManifestModel, file: ManifestFile, path: Path) -> Iterator[Path]:
        """OSError, ValueError."""
        try:
            mark = ModelMark.of(path)
        except FileNotFoundError:
            if not file.sha256:
                raise
            if file is model.file and not (model.format or _by_name(path)):
                raise ValueError("its name does not say what it is; say format") from None
            return
        if file.sha256 and mark.size_bytes != file.size_bytes:
            # Not how many it has: while it is copied, that would be news at each look.
            raise ValueError(f"it does not have {file.size_bytes} bytes here")
        if file is model.file and not (model.format or _format(path)):
            raise ValueError("it begins like no model that is known; say format")
        if not file.sha256 and self._digests.known(path, mark) is None:
            yield path

    def _read(self, path: Path, until: float) -> str:
        """What is left to wait for. OSError."""
        reading = self._resumed(path)
        if reading is None:
            return f"{path} changed just now"
        while block := os.read(reading.descriptor, BLOCK_BYTES):
            reading.sha256.update(block)
            reading.done += len(block)
            if time.monotonic() >= until:
                return reading.progress
        self._end()
        if ModelMark.of(path) != reading.mark:
            return f"{path} changed while it was read"
        self._digests.learn(path, reading.mark, reading.sha256.hexdigest())
        return ""

    def _resumed(self, path: Path) -> _Reading | None:
        """None: every change from now on might look like none."""
        mark = ModelMark.of(path)
        if self._reading is not None and (self._reading.path, self._reading.mark) == (path, mark):
            return self._reading
        self._end()
        if not mark.tells_changes(self._now_ns()):
            return None
        self._reading = _Reading(path, mark, os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        return self._reading

    def _end(self) -> None:
        if self._reading is not None:
            os.close(self._reading.descriptor)
        self._reading = None

    def _models(self, manifest: Manifest) -> Iterator[NewModel]:
        for model in manifest.models:
            main = self._part(manifest, model.file)
            projector = self._part(manifest, model.projector) if model.projector is not None else None
            path = Path(main.path)
            form = model.format or (_format(path) if path.exists() else _by_name(path))
            yield NewModel(model.id, main.path, main.sha256, main.size_bytes, form, projector)

    def _part(self, manifest: Manifest, file: ManifestFile) -> ModelPart:
        path = _path(manifest, file)
        if file.sha256:
            return ModelPart(str(path), file.sha256, file.size_bytes)
        mark = ModelMark.of(path)
        sha256 = self._digests.known(path, mark)
        if sha256 is None:
            raise OSError(errno.ESTALE, "changed just now", str(path))
        return ModelPart(str(path), sha256, mark.size_bytes)


def _path(manifest: Manifest, file: ManifestFile) -> Path:
    """Absolute; what is relative lies beside the manifest. RuntimeError for the home of nobody."""
    return Path(manifest.source).absolute().parent / Path(file.path).expanduser()


def _format(path: Path) -> str:
    """Of a file that is here; empty: it is no model that is known. OSError."""
    with path.open("rb") as file:
        magic = file.read(MAGIC_BYTES)
    return _MAGIC.get(magic) or _NAMES.get(path.name) or ("onnx" if path.suffix == ".onnx" else "")


def _by_name(path: Path) -> str:
    """Of a file that lies elsewhere."""
    return _NAMES.get(path.name) or _SUFFIXES.get(path.suffix, "")
