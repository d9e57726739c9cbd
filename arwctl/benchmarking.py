"""How fast an engine answers one request at a time, by its own word."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from arw_client import ArwError, Prompt

WORDS = "the quick brown fox jumps over the lazy dog and runs into the dark wood "
SILENT = ("UNIMPLEMENTED", "Its engine does not say how long it took, and nothing is guessed.")


@dataclass(frozen=True, slots=True)
class Run:
    prompt_tokens: int
    prompt_tokens_per_second: float
    generated_tokens: int
    generated_tokens_per_second: float


def asked(model: str, tokens: int) -> Prompt:
    """Each begins otherwise, so that no cache has read it."""
    text = f"{secrets.token_hex(8)}. Go on for as long as you can: {WORDS * 8}"
    options = {"max_tokens": tokens, "temperature": 0}
    return Prompt(model, [{"role": "user", "content": text}], options)


def run_of(answer: Mapping[str, Any]) -> Run:
    """By llama.cpp's timings. ArwError from an engine that gives none."""
    timings = answer.get("timings")
    if not isinstance(timings, Mapping) or not timings.get("predicted_ms") or not timings.get("prompt_ms"):
        reason, text = SILENT
        raise ArwError(reason, text, "Its node may learn it: arwctl runtime get ID says how fast it was seen to be.")
    return Run(
        timings["prompt_n"],
        _rate(timings["prompt_n"], timings["prompt_ms"]),
        timings["predicted_n"],
        _rate(timings["predicted_n"], timings["predicted_ms"]),
    )


def summary(model: str, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "model": model,
        "prompt_tokens_per_second": round(median(run.prompt_tokens_per_second for run in runs), 2),
        "generated_tokens_per_second": round(median(run.generated_tokens_per_second for run in runs), 2),
        "runs": [asdict(run) for run in runs],
    }


def _rate(tokens: int, milliseconds: float) -> float:
    return round(1000 * tokens / milliseconds, 2)
