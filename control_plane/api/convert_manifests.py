"""What manifests would do and did."""

from __future__ import annotations

import json
from datetime import datetime

from arw.v1 import model_pb2, runtime_pb2
from arw.v1 import runtime_service_pb2 as pb
from control_plane.api.convert import model_id
from control_plane.domain.ids import NodeId, RuntimeId, resource_name
from control_plane.domain.manifest_plan import Action, FieldChange, PlannedModel, PlannedRuntime
from control_plane.domain.runtime import Runtime
from control_plane.domain.steps import Steps
from control_plane.messages.models import part_from_proto
from control_plane.messages.problems import problem_to_proto
from control_plane.messages.runtimes import desired_state_to_proto, runtime_to_proto
from control_plane.use_cases.apply_manifest import Applied
from control_plane.use_cases.create_model import NewModel
from control_plane.use_cases.plan_manifest import Plan


def applied_to_proto(applied: Applied, now: datetime) -> Steps[pb.ApplyManifestResponse]:
    answer = pb.ApplyManifestResponse(revision=applied.revision)
    for item in applied.runtimes:
        outcome = pb.ApplyOutcome.Value(f"APPLY_OUTCOME_{item.outcome.name}")
        answer.runtimes.add(runtime=runtime_to_proto(item.view, now), outcome=outcome)
        yield
    answer.runtimes.extend(map(_removed_to_proto, applied.removed))
    return answer


def _removed_to_proto(runtime: RuntimeId) -> pb.AppliedRuntime:
    named = runtime_pb2.Runtime(name=resource_name("runtimes", runtime), id=runtime)
    return pb.AppliedRuntime(runtime=named, outcome=pb.APPLY_OUTCOME_REMOVED)


def planned_model_from_proto(model: model_pb2.Model) -> NewModel:
    projector = part_from_proto(model.projector) if model.HasField("projector") else None
    return NewModel(model_id(model.id), model.path, model.sha256, model.size_bytes, model.format, projector)


def plan_to_proto(plan: Plan) -> pb.PlanManifestResponse:
    return pb.PlanManifestResponse(
        runtimes=[_planned_to_proto(planned) for planned in plan.runtimes],
        models=[_model_to_proto(model) for model in plan.models],
        revision=plan.revision,
    )


def _planned_to_proto(planned: PlannedRuntime) -> pb.PlannedRuntime:
    before, head = planned.before, planned.replica_of
    return pb.PlannedRuntime(
        name=resource_name("runtimes", planned.id),
        id=planned.id,
        action=_action(planned.action),
        changes=[_change_to_proto(change) for change in planned.changes],
        desired_state_before=_wanted(before),
        desired_state=_wanted(planned.after),
        node_before=_node(before.node if before is not None else None),
        node=_node(planned.node),
        placement_problem=problem_to_proto(planned.problem),
        source_before=before.source if before is not None else "",
        replica_of=resource_name("runtimes", head) if head is not None else "",
        restarts=planned.restarts,
    )


def _change_to_proto(change: FieldChange) -> pb.FieldChange:
    old, new = (
        json.dumps(value, ensure_ascii=False) if value is not None else "" for value in (change.old, change.new)
    )
    return pb.FieldChange(key=change.key, old_value=old, new_value=new)


def _model_to_proto(model: PlannedModel) -> pb.PlannedModel:
    return pb.PlannedModel(name=resource_name("models", model.id), id=model.id, action=_action(model.action))


def _action(action: Action) -> pb.PlannedAction.ValueType:
    return pb.PlannedAction.Value(f"PLANNED_ACTION_{action.name}")


def _wanted(runtime: Runtime | None) -> runtime_pb2.DesiredState.ValueType:
    return desired_state_to_proto(runtime) if runtime is not None else runtime_pb2.DESIRED_STATE_UNSPECIFIED


def _node(node: NodeId | None) -> str:
    return resource_name("nodes", node) if node is not None else ""
