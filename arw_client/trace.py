"""W3C trace context: each call starts a span in the trace of the whole command."""

from __future__ import annotations

import secrets

HEADER = "traceparent"


class Trace:
    """One trace; every header drawn from it is a new span."""

    def __init__(self) -> None:
        self.trace_id = secrets.token_hex(16)

    def header(self) -> str:
        return f"00-{self.trace_id}-{secrets.token_hex(8)}-01"
