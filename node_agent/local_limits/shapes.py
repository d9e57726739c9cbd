"""The keys of node_agent.toml. configs/node_agent.toml explains them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from node_agent.domain.sandbox import PROCESS_LIMIT

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Names = Annotated[tuple[Name, ...], Meta(max_length=64)]
Seconds = Annotated[int, Meta(ge=0, le=86400)]
Text = Annotated[str, Meta(min_length=1, max_length=64)]
FilePath = Annotated[str, Meta(min_length=1, max_length=4096)]
Paths = Annotated[tuple[FilePath, ...], Meta(max_length=256)]
Mode = Literal["native", "container"]


class Choice(Struct, frozen=True):
    allow: Names = ()
    deny: Names = ()


class Memory(Struct, frozen=True):
    total: Text | None = None
    per_runtime: Text | None = None


class Hours(Struct, frozen=True):
    time_zone: Text
    windows: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=64)]
    outside: Literal["stop", "drain"] = "stop"


class Sandbox(Struct, frozen=True):
    user: Text | None = None
    use: Paths = ()
    write: Paths = ()
    required: Names = ()
    off: Names = ()
    process_limit: Annotated[int, Meta(ge=0, le=1 << 22)] = PROCESS_LIMIT


class Document(Struct, frozen=True):
    max_runtimes: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    modes: Annotated[tuple[Mode, ...], Meta(max_length=2)] | None = None
    default_mode: Mode | None = None
    container_tool: FilePath | None = None
    grace_seconds: Seconds = 60
    prompt_cache: Text | None = None
    adapters: Choice = Choice()
    devices: Choice = Choice()
    memory: Memory = Memory()
    hours: Hours | None = None
    sandbox: Sandbox = Sandbox()
