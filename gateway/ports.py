"""What the gateway needs from whoever it runs in. Each docstring is the promise that a filler keeps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Task(StrEnum):
    """What a request wants done; the value ends the sentence "it can ..."."""

    TEXT = "answer text"
    """Chats, completions and embeddings."""
    SPEECH = "transcribe speech"
    VOICE = "speak"
    VISION = "see pictures"
    RERANK = "rank documents"
    RESPONSES = "answer /v1/responses"
    MESSAGES = "answer /v1/messages by itself"
    """Whatever answers text can be asked in these words; the gateway then translates."""
    COUNT = "count tokens"


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes, and the hold under which it may pass there."""

    instance: str
    """nodes/{node}/instances/{runtime}"""
    node: str
    claim: str
    fence: int
    model_alias: str
    """The runtime's display id: what the engine calls itself."""
    tasks: frozenset[Task] = frozenset((Task.TEXT,))
    """All that can be asked there."""
    slots: int = 0
    """How many requests the engine answers at once; 0: nobody knows."""
    on_demand: bool = False
    """It may leave memory at any time, and comes back when it is asked for."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """An entry of /v1/models."""

    id: str
    created: int
    """Seconds since the epoch."""
    model: str = ""
    node: str = ""
    tasks: frozenset[Task] = frozenset((Task.TEXT,))
    embeds: bool = False
    """It makes embeddings and nothing else."""
    loaded: bool = True
    """Else it is loaded when a request names it."""


class Routes(Protocol):
    """Knows what serves now. Never blocks."""

    def resolve(
        self,
        model: str,
        task: Task = Task.TEXT,
        project: str = "",
        avoid: Collection[str] = (),
        *,
        claim: str = "",
        body: bytes = b"",
    ) -> Route:
        """The route for a model, runtime id or runtime name; GatewayRefusal when there is none that can do this.

        Loading: there will be one shortly, once it was asked for.

        `project`: for whom; what it is pinned to counts. `avoid`: instances that failed this request already.
        `claim`: that the request comes under; then it goes to what that holds and nowhere else.
        `body`: of the request, which may begin like one before.
        """

    def left(self, route: Route) -> None:
        """A request that was given this route has no more use for it. Called once for each `resolve`."""

    def wake(self, runtime: str) -> None:
        """Have it loaded. Costs nothing when it was asked for already."""

    def models(self) -> Sequence[ServedModel]:
        """What serves now or when it is asked for, in id order."""


@dataclass(frozen=True, slots=True)
class Caller:
    id: str
    name: str = ""
    project: str = ""
    """Empty: an operator."""
    claim: str = ""
    """Under which it asks; empty: it named none."""


class Callers(Protocol):
    """Knows who may call. Never blocks."""

    def authenticate(self, authorization: str | None) -> Caller | None:
        """Who an Authorization header speaks for; None when it is absent, wrong or revoked.

        GatewayRefusal: it is a good one that does not count now.
        """


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the engine itself counted."""

    prompt: int
    """Including what came from its cache."""
    completion: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One inference request that reached a node, when it is over."""

    route: Route
    caller: str
    path: str
    status: int
    """0: the engine broke before it said one."""
    streamed: bool
    complete: bool
    """False: one side went away before the end."""
    abandoned: bool
    """The client went away first."""
    first_byte_ms: float | None
    first_token_ms: float | None
    total_ms: float
    bytes_out: int
    tokens: Tokens | None
    trace_id: str
    refused_by_node: bool = False
    """The node's agent answered, for no engine did."""
    project: str = ""
    """Of the caller; empty: an operator asked."""


class Meter(Protocol):
    """Takes what was measured. Never blocks."""

    def record(self, exchange: Exchange) -> None: ...


class RelayGate(Protocol):
    """Decides which parked connections count."""

    def admits(self, node: str, epoch: int, serial: str | None) -> bool:
        """Whether this is the node's live session.

        `serial`: of its client certificate, lower-case hex; None on the Unix socket.
        """

    def superseded(self, node: str, epoch: int) -> bool:
        """Whether another session than this one speaks for the node now. A node without any session is not meant."""


class Demand(Protocol):
    """Reaches a node through its control stream."""

    def want(self, node: str, idle: int) -> None:
        """Ask the node to keep `idle` parked connections ready."""
