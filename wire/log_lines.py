"""Where log lines go. A disk that cannot be written costs the line, never the process that said it."""

from __future__ import annotations

import json
import os
import threading

import structlog

STDERR = 2


class LogLines:
    """Writes whole lines to a descriptor. The first one that gets through again is preceded by how many were lost."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lost = 0
        self._torn = False
        """The last line ends in its middle."""
        # Threads of the store and of grpc log too.
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        with self._lock:
            if self._lost and self._written(json.dumps({"event": "log_lines_lost", "lines": self._lost})):
                self._lost = 0
            if self._lost or not self._written(line):
                self._lost += 1

    def _written(self, line: str) -> bool:
        """A disk with little room may take a part of a line: that one counts as lost."""
        start = "\n" if self._torn else ""
        data = f"{start}{line}\n".encode(errors="replace")
        try:
            written = os.write(self._descriptor, data)
        except OSError:
            return False
        self._torn = written < len(data)
        return not self._torn

    debug = info = warning = error = critical = fatal = exception = log = msg


def log_to_stderr(level: int) -> None:
    """From this level of `logging` on: one event a line, with its fields, as JSON."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=LogLinesFactory(),
    )


class LogLinesFactory:
    """All loggers of a process share one, on standard error unless told otherwise."""

    def __init__(self, descriptor: int = STDERR) -> None:
        self._lines = LogLines(descriptor)

    def __call__(self, *_names: object) -> LogLines:
        return self._lines
