"""Desired state and problems as they travel on the stream."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from arw.v1 import runtime_pb2
from arw.v1 import session_pb2 as pb
from control_plane.domain.claims.holds import live
from control_plane.domain.desired import DesiredRow, Placed
from control_plane.domain.ids import resource_name
from control_plane.domain.model import Model
from control_plane.domain.runtime import Runtime
from control_plane.domain.tuning import settings_of
from control_plane.messages.models import part_to_proto
from control_plane.messages.runtimes import spec_to_proto
from control_plane.messages.times import duration_to_proto


def resource_to_proto(row: DesiredRow, content: Placed) -> pb.DesiredResource:
    return pb.DesiredResource(
        name=row.name, generation=row.generation, revision=row.revision, instance=instance_spec_to_proto(content)
    )


def removal_to_proto(row: DesiredRow) -> pb.DesiredRemoval:
    return pb.DesiredRemoval(name=row.name, revision=row.revision)


def instance_spec_to_proto(content: Placed) -> pb.InstanceSpec:
    runtime = content.runtime
    return pb.InstanceSpec(
        runtime_id=runtime.id,
        runtime=spec_to_proto(runtime.spec, settings_of(runtime)),
        model=_model_to_proto(content.model) if content.model is not None else None,
        desired_state=runtime_pb2.DesiredState.Value(f"DESIRED_STATE_{runtime.desired_state.name}"),
        holds=_holds_to_proto(runtime),
        restore=pb.RestoreOrder(
            serial=runtime.restore.serial, restart=runtime.restore.restart, reset_budget=runtime.restore.reset_budget
        ),
    )


def _holds_to_proto(runtime: Runtime) -> list[pb.Hold]:
    stops: dict[str, Duration | None] = {hold.claim: duration_to_proto(hold.stop_after) for hold in runtime.holds.live}
    return [pb.Hold(claim=claim, fence=fence, stop_after=stops.get(claim)) for claim, fence in live(runtime).items()]


def _model_to_proto(model: Model) -> pb.ModelFile:
    return pb.ModelFile(
        name=resource_name("models", model.id),
        path=model.path,
        sha256=model.sha256,
        size_bytes=model.size_bytes,
        projector=part_to_proto(model.projector),
    )
