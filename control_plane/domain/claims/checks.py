"""What may be claimed at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta

from control_plane.domain.claims.claim import Requirement, RuntimeClaim
from control_plane.domain.errors import InvalidArgument

MIN_TTL, MAX_TTL = timedelta(seconds=15), timedelta(hours=24)
MAX_DISRUPTION = timedelta(hours=24)
MAX_PRIORITY = 100
MAX_FALLBACKS = 8
MAX_AHEAD = timedelta(days=30)
MAX_FEATURES = 16
MAX_LENGTH = 128

Fault = tuple[str, str]
"""What is wrong, what to do."""


def check(order: RuntimeClaim, now: datetime) -> None:
    """InvalidArgument with the first thing that is wrong."""
    for text, remedy in _faults(order, now):
        raise InvalidArgument(text, remedy)


def _faults(order: RuntimeClaim, now: datetime) -> Iterator[Fault]:
    if not MIN_TTL <= order.ttl <= MAX_TTL:
        yield f"A time to live of {order.ttl.total_seconds():g} s is not possible.", "15 seconds to 24 hours."
    if not timedelta() <= order.max_disruption <= MAX_DISRUPTION:
        yield f"A max_disruption of {order.max_disruption.total_seconds():g} s is not possible.", "0 to 24 hours."
    if order.stop_after is not None and not timedelta(seconds=1) <= order.stop_after <= MAX_DISRUPTION:
        yield f"A stop_after of {order.stop_after.total_seconds():g} s is not possible.", "1 second to 24 hours."
    if abs(order.priority) > MAX_PRIORITY:
        yield f"A priority of {order.priority} is not possible.", f"{-MAX_PRIORITY} to {MAX_PRIORITY}; 0 is usual."
    if len(order.fallbacks) > MAX_FALLBACKS:
        yield f"{len(order.fallbacks)} fallbacks are too many.", f"At most {MAX_FALLBACKS}."
    for wanted in order.alternatives:
        yield from _of_requirement(wanted)
    yield from _of_window(order, now)


def _of_requirement(wanted: Requirement) -> Iterator[Fault]:
    if not 0 < len(wanted.model_tag) <= MAX_LENGTH:
        yield "A claim must say what model it is for.", f"Give a model_tag of 1 to {MAX_LENGTH} characters."
    if wanted.context_window < 0:
        yield f"A context_window of {wanted.context_window} is not possible.", "Give tokens; 0 for any."
    if not (math.isfinite(wanted.min_tokens_per_sec) and wanted.min_tokens_per_sec >= 0):
        yield f"{wanted.min_tokens_per_sec} tokens a second are not possible.", "Give a number from 0 on; 0 for any."
    if len(wanted.features) > MAX_FEATURES or any(not 0 < len(name) <= MAX_LENGTH for name in wanted.features):
        yield "These features are not possible.", f"At most {MAX_FEATURES}, of 1 to {MAX_LENGTH} characters each."


def _of_window(order: RuntimeClaim, now: datetime) -> Iterator[Fault]:
    start, end = order.window.start, order.window.end
    if any(time is not None and time.utcoffset() is None for time in (start, end)):
        yield "A time window without a time zone is not possible.", "Give its times in UTC."
        return
    if end is not None and end - max(start or now, now) < MIN_TTL:
        yield "The time window is over, or too short.", f"It must last {MIN_TTL.total_seconds():g} s from now on."
    if start is not None and start > now and end is None:
        yield "Room for later can be promised only for so long.", "Say when the time window ends, too."
    if any(time is not None and time > now + MAX_AHEAD for time in (start, end)):
        yield "The time window is too far away.", f"At most {MAX_AHEAD.days} days ahead."
