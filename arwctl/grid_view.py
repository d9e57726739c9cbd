"""The matrix of nodes, and the grid of models, hardware and sandboxes, for people and for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arw_client import messages as m
from arwctl.output import Columns, document
from arwctl.screen import Screen
from arwctl.status_view import MATRIX_NAMES, renamed

NODES = Columns[m.RuntimeMatrixEntry](
    ("node", "status", "runtimes", "by accelerator", "requests", "errors", "first byte"),
    lambda entry: (
        entry.target,
        entry.status.label if entry.status else "-",
        _counts(entry.runtime.states) if entry.runtime else "-",
        _by_accelerator(entry.runtime) if entry.runtime else "-",
        *_requests(entry.http or m.HttpRollup()),
    ),
    "No node has joined. Start one on this machine with `arwctl up`.",
)
CELLS = Columns[m.RuntimeGridCell](
    ("model", "node", "accelerator", "sandbox", "state", "grade", "slots", "tok/s alone", "tok/s served", "runtimes"),
    lambda cell: (
        cell.model or "-",
        cell.node,
        cell.accelerator_label,
        cell.sandbox_label,
        _counts(cell.states),
        cell.health_grade,
        *_figures(cell.figures or m.RuntimeGridFigures()),
        ", ".join(cell.runtimes),
    ),
    "No runtime has a place. Declare one with `arwctl runtime apply -f FILE`.",
)


def matrix_document(matrix: m.RuntimeMatrix) -> Any:
    return renamed(document(matrix), MATRIX_NAMES)


def grid_document(grid: m.RuntimeGrid) -> Any:
    return renamed(document(grid), MATRIX_NAMES)


def print_roll_ups(screen: Screen, grid: m.RuntimeGrid) -> None:
    minutes = grid.window.total_seconds() / 60 if grid.window else 0
    for label, figures in sorted(grid.by_accelerator.items()):
        slots, alone, served = _figures(figures)
        runtimes = f"{figures.runtimes} runtime{'s'[: figures.runtimes != 1]}"
        screen.line(f"{label}: {runtimes}, slots {slots}, {served} tok/s served, {alone} alone")
    screen.line(f"ttl {grid.ttl_seconds}s; served: of the last {minutes:g} min; alone: one request, as it was learnt")


def _figures(figures: m.RuntimeGridFigures) -> tuple[str, str, str]:
    busy = f"{figures.inflight_requests or 0}/{figures.slots}" if figures.slots is not None else "-"
    alone = figures.generated_tokens_per_second
    return busy, "-" if alone is None else f"{alone:.1f}", f"{figures.served_tokens_per_second:.3g}"


def _requests(http: m.HttpRollup) -> tuple[str, str, str]:
    errors = str(http.errors) + (f" and {http.engine_errors} of engines" if http.engine_errors else "")
    latency = "-" if http.mean_first_byte_ms is None else f"{http.mean_first_byte_ms:.0f} ms"
    return str(http.hits), errors, latency


def _by_accelerator(rollup: m.RuntimeRollup) -> str:
    groups = sorted(rollup.by_accelerator.items())
    return ", ".join(f"{label}: {_counts(group.states)}" for label, group in groups) or "-"


def _counts(states: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "-"
