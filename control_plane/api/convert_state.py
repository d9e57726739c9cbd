"""The grid, the watchers and the replicas, to the contract."""

from __future__ import annotations

from datetime import datetime, timedelta

from arw.v1 import replica_pb2, runtime_matrix_pb2, watcher_pb2
from control_plane.domain.grid import Cell, Figures, Grid
from control_plane.domain.replica import Replica
from control_plane.domain.watcher import Watcher, Watchers
from control_plane.messages.times import duration_to_proto, time_to_proto


def grid_to_proto(grid: Grid) -> runtime_matrix_pb2.RuntimeGrid:
    return runtime_matrix_pb2.RuntimeGrid(
        cells=[_cell_to_proto(cell) for cell in grid.cells],
        by_accelerator={label: _figures_to_proto(figures) for label, figures in grid.by_accelerator.items()},
        ttl_seconds=grid.ttl_seconds,
        window=duration_to_proto(grid.window),
        update_time=time_to_proto(grid.update_time),
    )


def watchers_to_proto(watchers: Watchers) -> watcher_pb2.Watchers:
    status = watchers.status
    return watcher_pb2.Watchers(
        watchers=[_watcher_to_proto(watcher, watchers.update_time) for watcher in watchers.watchers],
        status=status.value,
        status_label=status.label,
        severity=status.severity.value,
        severity_label=status.severity.label,
        update_time=time_to_proto(watchers.update_time),
    )


def replica_to_proto(replica: Replica) -> replica_pb2.ControlPlaneReplica:
    return replica_pb2.ControlPlaneReplica(
        id=replica.id,
        grpc_address=replica.place.grpc_address,
        http_url=replica.place.http_url,
        version=replica.place.version,
        start_time=time_to_proto(replica.start_time),
        leads=replica.leads,
    )


def _cell_to_proto(cell: Cell) -> runtime_matrix_pb2.RuntimeGridCell:
    key = cell.key
    return runtime_matrix_pb2.RuntimeGridCell(
        model=key.model,
        node=key.node,
        accelerator=key.accelerator.value,
        accelerator_label=key.accelerator.label,
        sandbox=key.sandbox.value,
        sandbox_label=key.sandbox.label,
        sandbox_layers=cell.layers,
        runtimes=cell.runtimes,
        states=cell.states,
        health_grade=cell.grade.value,
        severity=cell.severity.value,
        severity_label=cell.severity.label,
        label=cell.label,
        aria_hint=cell.aria_hint,
        figures=_figures_to_proto(cell.figures),
    )


def _figures_to_proto(figures: Figures) -> runtime_matrix_pb2.RuntimeGridFigures:
    return runtime_matrix_pb2.RuntimeGridFigures(
        runtimes=figures.runtimes,
        inflight_requests=figures.inflight_requests,
        slots=figures.slots,
        hits=figures.hits,
        errors=figures.errors,
        engine_errors=figures.engine_errors,
        prompt_tokens=figures.prompt_tokens,
        completion_tokens=figures.completion_tokens,
        served_tokens_per_second=figures.served_tokens_per_second,
        generated_tokens_per_second=figures.generated_tokens_per_second,
        prompt_tokens_per_second=figures.prompt_tokens_per_second,
    )


def _watcher_to_proto(watcher: Watcher, now: datetime) -> watcher_pb2.Watcher:
    status, error, age = watcher.status, watcher.last_error, watcher.ok_age(now)
    return watcher_pb2.Watcher(
        id=watcher.area.value,
        label=watcher.area.label,
        status=status.value,
        status_label=status.label,
        severity=status.severity.value,
        severity_label=status.severity.label,
        summary=watcher.summary,
        paths=watcher.paths,
        files=watcher.files,
        last_ok_time=time_to_proto(watcher.last_ok),
        last_ok_age_ms=None if age is None else age // timedelta(milliseconds=1),
        last_reason=watcher.last_reason.value if watcher.last_reason else "",
        last_reason_time=time_to_proto(watcher.last_reason_time),
        last_error=error.text if error else "",
        last_error_remedy=error.remedy if error else "",
        last_error_time=time_to_proto(watcher.last_error_time),
        status_time=time_to_proto(watcher.since),
    )
