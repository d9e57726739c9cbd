"""One request at an engine, and its answer back to the gateway, byte for byte."""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from node_agent.domain.spec import Hold, InstanceName
from node_agent.relay.answers import Refused
from node_agent.relay.engines import EngineConnection, Engines
from node_agent.use_cases.ports import EngineDoor
from wire.byte_pump import Sink
from wire.http_head import Request, request_bytes
from wire.response_watch import ResponseWatch

_NEVER_PASSED = frozenset((b"authorization", b"host", b"x-api-key"))


class Asker(Protocol):
    """The parked connection that brought the request."""

    @property
    def sink(self) -> Sink: ...

    def refuse(self, refused: Refused) -> None:
        """Nothing was sent yet: say no."""

    def delivered(self, *, keep: bool) -> None:
        """The answer is sent. `keep` False: it was cut short, or the engine closes; so the connection ends."""


class Delivery:
    """Ends in exactly one of: the whole answer, a refusal, a cut connection, or an abandonment by the gateway."""

    def __init__(
        self, asker: Asker, engines: Engines, instance: InstanceName, door: EngineDoor, request: Request, *, hold: Hold
    ) -> None:
        """`hold`: under which it was let in."""
        self.hold = hold
        self._asker = asker
        self._engines = engines
        self._instance = instance
        self._door = door
        self._message = _for_engine(request, door)
        self._watch = ResponseWatch(request.method)
        self._write = asker.sink.transport.write
        self._engine: EngineConnection | None = None
        self._waited = False
        self._answering = False
        self._over = False
        self._time = asyncio.get_running_loop().time
        self.began = self._time()
        self.last_byte: float | None = None

    @property
    def port(self) -> int:
        return self._door.port

    @property
    def over(self) -> bool:
        return self._over

    @property
    def held(self) -> bool:
        return self._engine is not None and self._engine.held

    def start(self) -> None:
        self._engines.begin(self._instance, self)
        self._engines.lend(self._instance, self._door, self)

    def carry(self, engine: EngineConnection) -> None:
        self._engine = engine
        self._waited = engine.used > 0
        self._asker.sink.draw_from(engine)
        engine.borrow(self, self._message)

    def unreachable(self) -> None:
        self._refuse(Refused.NOT_SERVING)

    def received(self, data: bytes) -> None:
        if not self._watch.feed(data):
            self._drop_engine()
            self._cut_short(Refused.ENGINE_BROKE)
            return
        self._answering = True
        self.last_byte = self._time()
        self._write(data)
        if self._watch.complete:
            self._complete()

    def broken(self) -> None:
        """An engine may close a connection that waited; that costs a fresh one, and no error."""
        self._asker.sink.let_go()
        self._engine = None
        if self._waited and not self._answering and not self._over:
            self._engines.lend(self._instance, self._door, self, fresh=True)
        else:
            self._cut_short(Refused.ENGINE_BROKE)

    def stop(self) -> None:
        self._drop_engine()
        self._cut_short(Refused.STOPPING)

    def displace(self) -> None:
        self._drop_engine()
        self._cut_short(Refused.STALE_FENCE)

    def abandon(self) -> None:
        """The gateway is gone: closing the connection makes the engine end the generation."""
        if not self._over:
            self._drop_engine()
            self._finish()

    def _cut_short(self, refused: Refused) -> None:
        if not self._answering:
            self._refuse(refused)
        elif not self._over:
            self._finish()
            self._asker.delivered(keep=False)

    def _refuse(self, refused: Refused) -> None:
        if not self._over:
            self._finish()
            self._asker.refuse(refused)

    def _complete(self) -> None:
        self._asker.sink.let_go()
        engine, self._engine = self._engine, None
        assert engine is not None  # noqa: S101 - what is complete came from an engine
        engine.free()
        if self._watch.keep_alive:
            self._engines.take_back(engine)
        else:
            engine.close()
        self._finish()
        self._asker.delivered(keep=self._watch.keep_alive)

    def _drop_engine(self) -> None:
        self._asker.sink.let_go()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.free()
            engine.abort()

    def _finish(self) -> None:
        self._over = True
        self._message = b""
        self._engines.end(self._instance, self)


def _for_engine(request: Request, door: EngineDoor) -> bytes:
    """The request with the engine's own key, and without anything that is ours."""
    headers = [(key, value) for key, value in request.end_to_end_headers() if key not in _NEVER_PASSED]
    headers.append((b"host", f"{door.host}:{door.port}".encode()))
    if door.api_key:
        headers.append((b"authorization", b"Bearer " + door.api_key.encode()))
    body = renamed(request.body, door.model) if door.model else request.body
    return request_bytes(request.method, request.target, headers, body)


def renamed(body: bytes, model: str) -> bytes:
    """The same JSON object with another model's name; what is no such object is left as it is."""
    try:
        asked = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return body
    return msgspec.json.encode(asked | {"model": msgspec.Raw(msgspec.json.encode(model))}) if "model" in asked else body
