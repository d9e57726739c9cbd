"""A program that is no known engine: a small HTTP server that says it is well, lists models and echoes.

    fake_program.py --port PORT [--models a,b] [--key KEY] [--sick] [--note FILE]

FILE gets its pid, its directory and its environment as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

METRICS = """\
# HELP vllm:num_requests_running running
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="a",engine="0"} 2.0
vllm:num_requests_running{model_name="a",engine="1"} 1.0
vllm:generation_tokens_total{model_name="a"} 41
"""


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--models", default="echo")
    parser.add_argument("--key", default="")
    parser.add_argument("--sick", action="store_true")
    parser.add_argument("--note", type=Path)
    return parser.parse_args()


def handler_for(given: argparse.Namespace) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/healthz":
                self.say(200, b"sick" if given.sick else b"all well")
            elif given.key and self.headers.get("authorization") != f"Bearer {given.key}":
                self.say(401, b"no")
            elif self.path == "/metrics":
                self.say(200, METRICS.encode())
            elif self.path == "/v1/models":
                self.say(200, json.dumps({"data": [{"id": name} for name in given.models.split(",")]}).encode())
            else:
                self.say(404, b"nothing here")

        def say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    return Handler


def main() -> None:
    given = parsed()
    if given.note:
        note = {"pid": os.getpid(), "directory": str(Path.cwd()), "env": dict(os.environ)}
        given.note.write_text(json.dumps(note))
    ThreadingHTTPServer(("127.0.0.1", given.port), handler_for(given)).serve_forever()


if __name__ == "__main__":
    main()
