from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.ids import ModelId


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
