"""An engine that knows the options of a recorded help, and serves as that engine does, without any model.

    recorded_engine.py HELP-FILE [options of the engine]

An option that the help does not list ends it, as it would end the engine.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")


def value(argv: Sequence[str], *flags: str) -> str:
    return next((argv[place + 1] for place, word in enumerate(argv) if word in flags), "")


def handler_for(argv: Sequence[str]) -> type[BaseHTTPRequestHandler]:
    key_file = value(argv, "--api-key-file")
    key = Path(key_file).read_text().strip() if key_file else ""
    names = [{"id": value(argv, "--alias", "--served-model-name") or "model"}]
    answers = {"/health": {"status": "ok"}, "/voices": {}, "/v1/models": {"data": names}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.path in ("/health", "/voices") or not key
            if not allowed and self.headers.get("authorization") != f"Bearer {key}":
                self.say(401, {})
            elif self.path in answers:
                self.say(200, answers[self.path])
            else:
                self.say(404, {})

        def say(self, status: int, body: object) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    return Handler


def main(recorded: Path, argv: Sequence[str]) -> int:
    said = recorded.read_text()
    if any(word.partition("=")[0] == "--help" for word in argv):
        print(said)
        return 0
    if "--version" in argv:
        print("version: recorded")
        return 0
    unknown = [word for word in argv if word.startswith("-") and word not in OPTION.findall(said)]
    if unknown:
        print(f"error: invalid argument: {unknown[0]}", file=sys.stderr)
        return 1
    address = (value(argv, "--host"), int(value(argv, "--port")))
    ThreadingHTTPServer(address, handler_for(argv)).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
