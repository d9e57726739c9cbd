"""Serves /health, whisper-server's /inference and OpenAI's /v1/audio/transcriptions.

One request is decoded at a time; some may wait, and their bodies are in memory, so what comes beyond is turned away.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import select
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from node_agent.runtimes.fronts.whisper_audio import UnreadableAudio, samples
from node_agent.runtimes.fronts.whisper_engine import Abandoned, Engine, Transcript, Wanted
from node_agent.runtimes.fronts.whisper_forms import Asked, BadForm, answer, asked

PATHS = ("/inference", "/v1/audio/transcriptions")
MAX_BODY_BYTES = 64 << 20
MAX_DIGITS = 12
PLACES = 9
"""Requests at once: one that is decoded, and those that wait."""
RETRY_S = 2
READ_S = 60.0
"""A client that stops sending."""
LOOK_S = 0.2
"""How often a waiting request looks whether its client is still there."""
END_S = 5.0
"""What a decode gets to notice that the server ends."""


class Refused(Exception):  # noqa: N818 - an answer
    """Status, what happened, what to do next, and OpenAI's error type and code."""

    def __init__(self, status: int, text: str, remedy: str, kind: str, code: str) -> None:
        super().__init__(text)
        self.status, self.remedy, self.kind, self.code = status, remedy, kind, code


class Front(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], engine: Engine, default: Wanted, keys: Sequence[str], model: str
    ) -> None:
        """`default`: for what a request leaves out. Without keys everybody may ask. OSError: the port is taken."""
        self.default = default
        self.model = model
        self.ending = threading.Event()
        self._engine = engine
        self._keys = [key.encode() for key in keys]
        self._places = threading.BoundedSemaphore(PLACES)
        self._decoding = threading.Lock()
        super().__init__(address, Exchange)

    def server_bind(self) -> None:
        """As the base does, but without asking a name server who we are."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serve until the block ends; then a decode gets a moment to notice."""
        threading.Thread(target=self.serve_forever, args=(None,), daemon=True).start()
        yield
        self.ending.set()
        self._decoding.acquire(timeout=END_S)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients come and go; anything else is told as the base does."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def admits(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        good = [hmac.compare_digest(key.encode("latin-1", "replace"), known) for known in self._keys]
        return not self._keys or (scheme.lower() == "bearer" and any(good))

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise Refused(503, "Too many transcriptions wait.", "Try again in a moment.", "unavailable_error", "busy")
        try:
            yield
        finally:
            self._places.release()

    def transcribe(self, asked_for: Asked, unwanted: Callable[[], bool]) -> Transcript:
        heard = samples(asked_for.file)
        while not self._decoding.acquire(timeout=LOOK_S):
            if unwanted():
                raise Abandoned
        try:
            began = time.monotonic()
            transcript = self._engine.transcribe(heard, asked_for.wanted, unwanted)
        finally:
            self._decoding.release()
        sys.stdout.write(f"transcribed {transcript.seconds:.1f} s in {time.monotonic() - began:.2f} s\n")
        sys.stdout.flush()
        return transcript


class Exchange(BaseHTTPRequestHandler):
    """A connection, one request after another."""

    protocol_version = "HTTP/1.1"
    timeout = READ_S
    server: Front
    _unread = 0

    def do_GET(self) -> None:
        if self.path == "/health":
            self._say(200, {"status": "ok"})
        else:
            self._answered(self._models)

    def do_POST(self) -> None:
        self._answered(self._transcribe)

    def log_message(self, *_: Any, **__: Any) -> None:
        """Probes come every few seconds."""

    def _answered(self, answer_it: Callable[[], None]) -> None:
        try:
            answer_it()
        except Refused as refused:
            self._refuse(refused)
        except (BadForm, UnreadableAudio) as problem:
            self._refuse(Refused(400, str(problem), problem.remedy, "invalid_request_error", "invalid_request"))
        except RuntimeError as error:
            self._refuse(Refused(500, f"{error}.", "Look at the runtime's log.", "server_error", "engine_failed"))
        except Abandoned:
            self._refuse(Refused(503, "The runtime is being stopped.", "Try again.", "unavailable_error", "stopping"))

    def _ask_key(self) -> None:
        if not self.server.admits(self.headers.get("authorization", "")):
            raise Refused(
                401, "The API key is wrong.", "Send the runtime's key.", "authentication_error", "invalid_key"
            )

    def _models(self) -> None:
        self._ask_key()
        if self.path != "/v1/models":
            raise _unknown(self.path)
        self._say(200, {"object": "list", "data": [{"id": self.server.model, "object": "model"}]})

    def _transcribe(self) -> None:
        self._unread = self._length()
        self._ask_key()
        if self.path not in PATHS:
            raise _unknown(self.path)
        with self.server.place():
            body, self._unread = self.rfile.read(self._unread), 0
            wanted = asked(self.headers.get("content-type", ""), body, self.server.default)
            del body
            transcript = self.server.transcribe(wanted, self._unwanted)
        self._answer(200, *answer(transcript, wanted.format))

    def _length(self) -> int:
        """What cannot be measured or is too long is not read, so the connection ends with the answer."""
        length = self.headers.get("content-length", "")
        if length.isdecimal() and len(length) < MAX_DIGITS and int(length) <= MAX_BODY_BYTES:
            return int(length)
        self.close_connection = True
        if not length.isdecimal():
            raise Refused(411, "The request has no length.", "Send it whole.", "invalid_request_error", "no_length")
        text = f"The request is larger than {MAX_BODY_BYTES >> 20} MiB."
        raise Refused(413, text, "Send shorter audio.", "invalid_request_error", "body_too_large")

    def _unwanted(self) -> bool:
        """The client is gone, or the server ends."""
        watch = select.poll()
        watch.register(self.connection, select.POLLRDHUP)
        return bool(watch.poll(0)) or self.server.ending.is_set()

    def _refuse(self, refused: Refused) -> None:
        """What was sent is read first: an answer to somebody who still sends would be lost."""
        while self._unread > 0 and (piece := self.rfile.read(min(self._unread, 1 << 20))):
            self._unread -= len(piece)
        error = {"message": str(refused), "type": refused.kind, "code": refused.code, "param": None}
        self._say(refused.status, {"error": {**error, "remedy": refused.remedy}})

    def _say(self, status: int, value: object) -> None:
        self._answer(status, "application/json", json.dumps(value).encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if status == 503:  # noqa: PLR2004 - worth asking again
            self.send_header("retry-after", str(RETRY_S))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _unknown(path: str) -> Refused:
    text = f"{path[:200]} is not served here."
    return Refused(404, text, f"Use one of: {', '.join(PATHS)}.", "not_found_error", "path_not_found")
