"""Rows to store, and a clock that stands where it is put."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from control_plane.domain.desired import Placed
from control_plane.domain.ids import ModelId, NodeId, OperatorId, RuntimeId, TokenId
from control_plane.domain.join_token import DEFAULT_TTL, JoinToken
from control_plane.domain.model import Model
from control_plane.domain.node import Node, Standing
from control_plane.domain.operator import Operator
from control_plane.domain.runtime import DesiredState, Runtime, RuntimeSpec

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass(slots=True)
class StandingClock:
    time: datetime = NOON

    def now(self) -> datetime:
        return self.time

    def advance(self, by: timedelta) -> None:
        self.time += by


def a_node(name: str, session_epoch: int = 0) -> Node:
    return Node(NodeId(name), f"uid-{name}", "e1", Standing.ADMITTED, session_epoch=session_epoch, create_time=NOON)


def a_runtime(name: str, generation: int = 1) -> Runtime:
    spec = RuntimeSpec("llama.cpp", ModelId("tiny"), tags={"tier": "test"})
    return Runtime(RuntimeId(name), f"uid-{name}", "e1", spec, DesiredState.RUNNING, generation, 1, NOON, NOON)


def a_model(name: str = "tiny") -> Model:
    return Model(ModelId(name), f"uid-{name}", "e1", f"/models/{name}.gguf", "ab" * 32, 1024, create_time=NOON)


def a_token(name: str, expire_time: datetime = NOON + DEFAULT_TTL) -> JoinToken:
    return JoinToken(TokenId(name), "cd" * 32, NOON, expire_time)


def an_operator(name: str) -> Operator:
    return Operator(OperatorId(name), name.title(), "ef" * 32, NOON)


def placed(runtime: str, generation: int = 1) -> Placed:
    return Placed(a_runtime(runtime, generation), a_model())
