"""A llama-server look-alike that runs no model.

With --simulated-gpu it claims a device, and says that the device is simulated.
"""

from __future__ import annotations

import argparse
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPLY = "This is the stub engine: no model was run."
DEVICE = "SIMULATED GPU"
LOG = f"using device CUDA0 ({DEVICE}) (0000:00:00.0) - 24576 MiB free\noffloaded 4/4 layers to GPU\n"
USAGE = {"prompt_tokens": 1, "completion_tokens": len(REPLY.split()), "total_tokens": 1 + len(REPLY.split())}
HELP = """\
--help
--version
--list-devices
--model FNAME
--alias STRING
--host HOST
--port PORT
--api-key-file FNAME
--ctx-size N
--parallel N
--n-gpu-layers N
--device DEVICE
"""


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False)
    for switch in ("--help", "--version", "--list-devices", "--simulated-gpu"):
        parser.add_argument(switch, action="store_true")
    for option in ("--model", "--alias", "--host", "--device", "--n-gpu-layers"):
        parser.add_argument(option, default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ctx-size", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--api-key-file", type=Path)
    return parser.parse_args()


class Engine(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, given: argparse.Namespace) -> None:
        super().__init__((given.host, given.port), Handler)
        self.given = given
        self.key = given.api_key_file.read_text().strip() if given.api_key_file else ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def do_GET(self) -> None:
        given = self.server.given
        slot = {"n_ctx": given.ctx_size // given.parallel}
        answers: dict[str, object] = {
            "/health": {"status": "ok"},
            "/props": {"total_slots": given.parallel, "default_generation_settings": slot},
            "/v1/models": {"object": "list", "data": [{"id": given.alias}]},
        }
        if self.path == "/health" or self.admitted():
            found = answers.get(self.path)
            self.answer(200 if found else 404, found or {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.admitted():
            return
        if asked.get("stream"):
            self.stream()
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": REPLY}, "finish_reason": "stop"}
            self.answer(200, {"object": "chat.completion", "choices": [choice], "usage": USAGE})

    def admitted(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {self.server.key}":
            return True
        self.answer(401, {"error": {"code": 401, "type": "authentication_error"}})
        return False

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for word in REPLY.split():
            self.event({"choices": [{"index": 0, "delta": {"content": f"{word} "}}]})
        self.event({"choices": [], "usage": USAGE})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, data: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())

    def log_message(self, *_: object) -> None:
        return


def main() -> None:
    given = parsed()
    if given.help:
        print(HELP)
    elif given.version:
        print("version: 0 (stub)", file=sys.stderr)
    elif given.list_devices:
        print("Available devices:")
        print(f"  CUDA0: {DEVICE} (24576 MiB, 24576 MiB free)" if given.simulated_gpu else "  (none)")
    else:
        sys.stderr.write(LOG if given.device.startswith("CUDA") else "stub engine on the CPU\n")
        sys.stderr.flush()
        Engine(given).serve_forever()


if __name__ == "__main__":
    main()
