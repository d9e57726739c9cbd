"""A client without a connection: takes an answer piece by piece, inside this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Protocol

from gateway.dialects.errors import Fault, engine_fault
from gateway.dialects.reading import AnswerReader
from gateway.refusals import (
    BadRequest,
    BodyTooLarge,
    EngineBroke,
    EngineSilent,
    GatewayRefusal,
    ModelNotFound,
    NoEngine,
    NotServing,
    ShareFull,
    StaleFence,
)
from wire.byte_pump import HIGH_WATER_BYTES, Sink

_REFUSALS: Mapping[int, type[GatewayRefusal]] = {
    403: StaleFence,
    404: ModelNotFound,
    413: BodyTooLarge,
    429: ShareFull,
    501: NoEngine,
    503: NotServing,
    504: EngineSilent,
}
_KEPT_OF_REFUSAL_BYTES = 64 * 1024


class Answering(Protocol):
    """On its way to an engine, or waiting for one."""

    def start(self) -> None: ...

    def abandon(self) -> None: ...


class Guest(Sink):
    """Reads the answer as it comes, and holds its source back while nobody takes what is here."""

    def __init__(self) -> None:
        self.transport = _Inlet(self)
        self._reader = AnswerReader()
        self._pieces: list[bytes] = []
        self._size = 0
        self._answering: Answering | None = None
        self._refusal: GatewayRefusal | None = None
        self._over = False
        self._came = asyncio.Event()

    @property
    def sink(self) -> Sink:
        return self

    @property
    def status(self) -> int:
        return self._reader.status

    @property
    def content_type(self) -> str:
        return self._reader.headers.get(b"content-type", b"").decode("latin-1")

    def begin(self, served: bytes | Answering) -> None:
        if isinstance(served, bytes):
            self.take(served)
            self._end()
        else:
            self._answering = served
            served.start()

    def take(self, data: bytes) -> None:
        """Bytes of the answer, framed as they are over HTTP."""
        if body := self._reader.feed(data):
            self._pieces.append(body)
            self._size += len(body)
        if self._size > HIGH_WATER_BYTES and not self._full:
            self.pause_writing()
        self._came.set()

    def answer_began(self) -> None:
        """Nothing is kept for it here."""

    def answer_refusal(self, refusal: GatewayRefusal) -> None:
        self._refusal = refusal
        self._end()

    def passage_over(self, *, keep: bool) -> None:
        del keep
        if not self._reader.whole:
            self._refusal = EngineBroke("The engine broke off its answer.", "Send the request again.")
        self._end()

    def leave(self) -> None:
        """The answer is wanted no more, or was taken."""
        answering, over = self._answering, self._over
        self._end()
        if answering is not None and not over:
            answering.abandon()

    async def head(self) -> None:
        """Returns once `status` and `content_type` are known, and good; GatewayRefusal."""
        while not self._reader.status and not self._over:
            await self._more()
        if self._reader.status >= HTTPStatus.BAD_REQUEST:
            raise _refused(engine_fault(self._reader.status, await self._said()))
        if not self._reader.status:
            raise self._refusal or EngineBroke("The engine did not answer.", "Send the request again.")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body; GatewayRefusal when it breaks off."""
        while self._pieces or not self._over:
            if self._pieces:
                yield self._taken()
            else:
                await self._more()
        if self._refusal is not None:
            raise self._refusal

    async def _said(self) -> bytes:
        """Of an answer that is a refusal."""
        said = b""
        async for piece in self.pieces():
            said = (said + piece)[:_KEPT_OF_REFUSAL_BYTES]
        return said

    async def _more(self) -> None:
        self._came.clear()
        await self._came.wait()

    def _taken(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces, self._size = [], 0
        if self._full:
            self.resume_writing()
        return taken

    def _end(self) -> None:
        self._over, self._answering = True, None
        self._came.set()


class _Inlet(asyncio.Transport):
    """What is written to it is taken in at once."""

    def __init__(self, guest: Guest) -> None:
        super().__init__()
        self._guest = guest

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._guest.take(bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self._guest.leave()

    def abort(self) -> None:
        self._guest.leave()


def _refused(fault: Fault) -> GatewayRefusal:
    kind = _REFUSALS.get(fault.status, BadRequest if fault.status < HTTPStatus.INTERNAL_SERVER_ERROR else EngineBroke)
    return kind(fault.text, fault.remedy)
