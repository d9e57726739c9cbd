"""What a runtime can be asked for."""

from __future__ import annotations

from control_plane.domain.runtime import Modality, RuntimeSpec
from gateway.ports import Task

_HEARS_ONLY = frozenset(("whisper.cpp",))
"""Adapters whose engines transcribe and do nothing else, whatever was declared."""
_SPEAKS_OTHERWISE = frozenset(("piper",))
"""Adapters whose engines answer no path of the gateway."""


def is_reachable(spec: RuntimeSpec) -> bool:
    """Whether requests can be sent to it at all; a program of one's own says so in its manifest."""
    return spec.process.openai if spec.process is not None else spec.adapter not in _SPEAKS_OTHERWISE


def can(spec: RuntimeSpec, task: Task) -> bool:
    if not is_reachable(spec):
        return False
    hears_only = spec.adapter in _HEARS_ONLY or set(spec.modalities) == {Modality.AUDIO}
    match task:
        case Task.TEXT:
            return not hears_only
        case Task.SPEECH:
            return hears_only or Modality.AUDIO in spec.modalities
