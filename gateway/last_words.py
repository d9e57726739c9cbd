"""What a client is told in an answer that has begun and does not go on."""

from __future__ import annotations

from gateway.dialects.begun import told
from gateway.dialects.paths import shape_of
from gateway.dialects.rendering import Rendering
from gateway.metering import Measure
from gateway.refusals import GatewayRefusal


def last_words(why: GatewayRefusal, rendering: Rendering | None, measure: Measure | None) -> bytes:
    """Of an answer that passes as it is: an event, where one can follow. Empty: nothing can be said."""
    if rendering is not None and not rendering.passes:
        return rendering.cut_short(why)
    if measure is None or not measure.between_events:
        return b""
    return told(why, shape_of(measure.path.encode("latin-1")), measure.trace_id)
