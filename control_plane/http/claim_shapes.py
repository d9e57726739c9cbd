"""Claims as the journal tells them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from control_plane.domain.claims.claim import ClaimState
from control_plane.domain.runtime import Modality
from control_plane.http.shapes import Count, Shape, Stamp, Told


class ClaimTold(Shape):
    claim: str
    project: Annotated[str, Meta(description="Display id of a project; empty: an operator's own")]
    state: ClaimState
    state_label: str
    model_tag: Annotated[str, Meta(description="Of the requirement that it goes by now")]
    modality: Modality
    exclusive: bool
    priority: int
    alternative: Annotated[Count, Meta(description="0 is what was wanted, then the fallbacks")]
    runtime: Annotated[str, Meta(description="That it holds; empty: none")]
    node: str
    fence: Annotated[Count, Meta(description="Of its hold; 0: it has none")]
    problem: Told | None
    summary: Annotated[str, Meta(description="What people read: the problem, else where it is")]


class ClaimNoticed(ClaimTold):
    until: Annotated[Stamp, Meta(description="When it loses what it holds")]


class FallbackEngaged(ClaimTold):
    previous_runtime: str
    cause: Told | None
