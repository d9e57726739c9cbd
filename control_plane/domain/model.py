from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.ids import ModelId


@dataclass(frozen=True, slots=True)
class ModelPart:
    """A further file of a model."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    id: ModelId
    uid: str
    etag: str
    path: str
    sha256: str
    size_bytes: int
    format: str = "gguf"
    create_time: datetime | None = None
    projector: ModelPart | None = None
    """Turns pictures into the model's tokens; None: it reads text alone."""

    @property
    def whole_size_bytes(self) -> int:
        return self.size_bytes + (self.projector.size_bytes if self.projector is not None else 0)
