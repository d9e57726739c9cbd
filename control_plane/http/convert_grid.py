"""The grid to what goes out."""

from __future__ import annotations

from control_plane.domain import grid
from control_plane.http import grid_shapes as shapes
from control_plane.http.convert import stamp


def grid_to_json(of: grid.Grid) -> shapes.RuntimeGrid:
    return shapes.RuntimeGrid(
        cells=[_cell(cell) for cell in of.cells],
        by_accelerator={label: _figures(figures) for label, figures in of.by_accelerator.items()},
        window_seconds=int(of.window.total_seconds()),
        ttl_seconds=of.ttl_seconds,
        updated=stamp(of.update_time),
    )


def _cell(of: grid.Cell) -> shapes.GridCell:
    key = of.key
    return shapes.GridCell(
        model=key.model,
        node=key.node,
        accelerator=key.accelerator,
        accelerator_label=key.accelerator.label,
        sandbox=key.sandbox,
        sandbox_label=key.sandbox.label,
        sandbox_layers=list(of.layers),
        runtimes=list(of.runtimes),
        states=dict(of.states),
        health_grade=of.grade,
        severity=of.severity,
        severity_label=of.severity.label,
        label=of.label,
        aria_hint=of.aria_hint,
        figures=_figures(of.figures),
    )


def _figures(of: grid.Figures) -> shapes.GridFigures:
    return shapes.GridFigures(
        runtimes=of.runtimes,
        hits=of.hits,
        errors=of.errors,
        engine_errors=of.engine_errors,
        prompt_tokens=of.prompt_tokens,
        completion_tokens=of.completion_tokens,
        served_tokens_per_second=round(of.served_tokens_per_second, 2),
        inflight_requests=of.inflight_requests,
        slots=of.slots,
        generated_tokens_per_second=_rounded(of.generated_tokens_per_second),
        prompt_tokens_per_second=_rounded(of.prompt_tokens_per_second),
    )


def _rounded(speed: float | None) -> float | None:
    return None if speed is None else round(speed, 2)
