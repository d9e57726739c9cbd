"""What a runtime can be asked for."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.domain.runtime import Modality, RuntimeSpec
from gateway.ports import Task

_LLAMA_CPP = "llama.cpp"
_RANK = "rank"
_TEXT = frozenset((Task.TEXT,))
_ANY_PATH = frozenset((Task.TEXT, Task.RESPONSES, Task.RERANK))
"""Of what nothing is known: it is asked, and says in its own words what it cannot do."""
_ANSWERED: Mapping[str, frozenset[Task]] = {
    _LLAMA_CPP: frozenset((Task.TEXT, Task.RESPONSES, Task.MESSAGES, Task.COUNT)),
    "llamafile": _TEXT,
    "onnxruntime": _TEXT,
    "piper": frozenset(),
    "vllm": _ANY_PATH,
    "whisper.cpp": frozenset((Task.SPEECH,)),
}
"""By adapter, the paths that its engines answer as their adapter starts them. What vLLM ranks depends on its model;
piper answers no path of the gateway."""
_RANKS = frozenset((Task.RERANK,))
"""Of a llama.cpp that pools by rank, which then does nothing else."""
_HEARS_ONLY = frozenset((Task.SPEECH,))
_DECLARED = {Modality.AUDIO: Task.SPEECH, Modality.VISION: Task.VISION}


def is_reachable(spec: RuntimeSpec) -> bool:
    """Whether requests can be sent to it at all; a program of one's own says so in its manifest."""
    return spec.process.openai if spec.process is not None else bool(_ANSWERED.get(spec.adapter, _ANY_PATH))


def can(spec: RuntimeSpec, task: Task) -> bool:
    return task in abilities(spec)


def abilities(spec: RuntimeSpec) -> frozenset[Task]:
    """All that it can be asked for. A declared modality adds speech or pictures; speech alone leaves nothing else."""
    answered = _ANSWERED.get(spec.adapter, _ANY_PATH)
    if not is_reachable(spec):
        return frozenset()
    if spec.adapter == _LLAMA_CPP and spec.settings.pooling == _RANK:
        return _RANKS
    if Task.TEXT not in answered or set(spec.modalities) == {Modality.AUDIO}:
        return _HEARS_ONLY
    return answered | {task for modality, task in _DECLARED.items() if modality in spec.modalities}
