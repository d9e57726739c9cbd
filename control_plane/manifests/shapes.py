"""What may stand in a manifest, with its bounds and defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from control_plane.domain.manifest import MAX_RUNTIMES
from control_plane.domain.runtime import (
    DEFAULT_MAX_RESTARTS,
    DEFAULT_RESTART_WINDOW,
    MissingAccelerator,
    Modality,
    PlacementStrategy,
)
from control_plane.domain.runtime_set import MAX_REPLICAS

MAX_PROMPT_BYTES = 16384

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
CountOrNone = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Word = Annotated[str, Meta(min_length=1, max_length=128)]
Line = Annotated[str, Meta(max_length=256)]
Argument = Annotated[str, Meta(max_length=4096, pattern=r"^[^\x00]*$")]
Variable = Annotated[str, Meta(max_length=128, pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
Port = Annotated[int, Meta(ge=0, le=65535)]
UrlPath = Annotated[str, Meta(max_length=1024, pattern="^(/[!-~]*)?$")]
Image = Annotated[str, Meta(max_length=512, pattern="^([A-Za-z0-9][A-Za-z0-9._:/@-]*)?$")]
Mode = Literal["native", "container"]
Digest = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")]
Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Prompt = Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_BYTES)]
CacheType = Literal["f16", "bf16", "q8_0", "q4_0"]
CacheName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Modalities = Annotated[tuple[Modality, ...], Meta(min_length=1, max_length=8)]
Tags = Annotated[dict[Annotated[str, Meta(min_length=1, max_length=128)], Line], Meta(max_length=64)]


class Settings(Struct, frozen=True):
    context_length: Count | UnsetType = UNSET
    slots: Count | UnsetType = UNSET
    threads: Count | UnsetType = UNSET
    gpu_layers: CountOrNone | UnsetType = UNSET
    batch_size: Count | UnsetType = UNSET
    embeddings: bool | UnsetType = UNSET
    pooling: Literal["none", "mean", "cls", "last", "rank"] | UnsetType = UNSET
    warm_up: bool | UnsetType = UNSET
    warm_up_prompts: Annotated[tuple[Prompt, ...], Meta(max_length=8)] | UnsetType = UNSET
    prompt_cache: CacheName | UnsetType = UNSET
    kv_cache_type: CacheType | UnsetType = UNSET


class Restart(Struct, frozen=True):
    max_restarts: Annotated[int, Meta(ge=0, le=1000)] = DEFAULT_MAX_RESTARTS
    window_seconds: Annotated[int, Meta(ge=1, le=7 * 24 * 3600)] = int(DEFAULT_RESTART_WINDOW.total_seconds())


class Placement(Struct, frozen=True):
    strategy: PlacementStrategy = PlacementStrategy.SPREAD
    on_disconnect: Annotated[str, Meta(pattern="^(keep|move_after:[1-9][0-9]{0,6}[smhd])$")] = "keep"


class Health(Struct, frozen=True):
    path: UrlPath = ""
    expect_status: Annotated[int, Meta(ge=100, le=599)] = 200
    expect_body: Line = ""


class Process(Struct, frozen=True):
    command: Annotated[tuple[Argument, ...], Meta(min_length=1, max_length=256)]
    env: Annotated[dict[Variable, Argument], Meta(max_length=64)] = {}
    working_directory: Annotated[str, Meta(max_length=4096)] = ""
    port: Port = 0
    health: Health = Health()
    openai: bool = False


class External(Struct, frozen=True):
    url: Annotated[str, Meta(max_length=256, pattern=r"^http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?$")]
    health_path: UrlPath = ""
    model: Line = ""


class RuntimeEntry(Struct, frozen=True):
    id: str
    adapter: Word
    model: str = ""
    name: Line = ""
    profile: Line = ""
    modalities: Modalities | UnsetType = UNSET
    accelerator: str = ""
    on_missing_accelerator: MissingAccelerator | UnsetType = UNSET
    auto_start: bool = False
    replicas: Annotated[int, Meta(ge=1, le=MAX_REPLICAS)] = 1
    on_demand: bool = False
    idle_unload: Annotated[str, Meta(pattern="^(never|[1-9][0-9]{0,6}[smhd])$")] = "never"
    keep_loaded: bool = False
    preset: Line = ""
    tags: Tags = {}
    settings: Settings = Settings()
    restart: Restart = Restart()
    placement: Placement = Placement()
    node_selector: Tags = {}
    modes: Annotated[tuple[Mode, ...], Meta(max_length=8)] = ()
    preferred_mode: Mode | UnsetType = UNSET
    image: Image = ""
    process: Process | None = None
    external: External | None = None


class ModelEntry(Struct, frozen=True):
    id: str
    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    sha256: Digest = ""
    size_bytes: Size = 0
    format: Literal["gguf", "ggml", "onnx", "folder"] | UnsetType = UNSET
    projector: Annotated[str, Meta(max_length=4096)] = ""
    projector_sha256: Digest = ""
    projector_size_bytes: Size = 0


class Document(Struct, frozen=True):
    version: int
    runtimes: Annotated[tuple[RuntimeEntry, ...], Meta(max_length=MAX_RUNTIMES)] = ()
    models: Annotated[tuple[ModelEntry, ...], Meta(max_length=1000)] = ()


class ProfileSettings(Struct, frozen=True):
    """Of a manifest's those that mean the same for every model."""

    context_length: Count | UnsetType = UNSET
    slots: Count | UnsetType = UNSET
    threads: Count | UnsetType = UNSET
    threads_share: Annotated[int, Meta(ge=1, le=100)] | UnsetType = UNSET
    gpu_layers: CountOrNone | UnsetType = UNSET
    batch_size: Count | UnsetType = UNSET
    kv_cache_type: CacheType | UnsetType = UNSET
    warm_up: bool | UnsetType = UNSET


class ProfileDocument(Struct, frozen=True):
    version: int
    description: Line = ""
    modalities: Modalities | UnsetType = UNSET
    accelerator: str = ""
    on_missing_accelerator: MissingAccelerator | UnsetType = UNSET
    tuning: bool = False
    settings: ProfileSettings = ProfileSettings()
