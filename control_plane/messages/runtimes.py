from __future__ import annotations

from datetime import datetime

from arw.v1 import runtime_pb2 as pb
from control_plane.domain.ids import resource_name
from control_plane.domain.residence import ALWAYS, Residence, Sleep
from control_plane.domain.runtime import (
    NO_MODEL,
    EngineSettings,
    ExternalSettings,
    PlacementSettings,
    ProcessSettings,
    RestartPolicy,
    Runtime,
    RuntimeSpec,
)
from control_plane.domain.view import RuntimeView
from control_plane.messages.accelerators import kind_to_proto
from control_plane.messages.execution import execution_to_proto
from control_plane.messages.instances import instance_to_proto
from control_plane.messages.problems import problem_to_proto
from control_plane.messages.times import duration_to_proto, time_to_proto


def runtime_to_proto(view: RuntimeView, now: datetime) -> pb.Runtime:
    runtime = view.runtime
    return pb.Runtime(
        name=resource_name("runtimes", runtime.id),
        id=runtime.id,
        uid=runtime.uid,
        etag=runtime.etag,
        spec=spec_to_proto(runtime.spec),
        desired_state=desired_state_to_proto(runtime),
        generation=runtime.generation,
        revision=runtime.revision,
        create_time=time_to_proto(runtime.create_time),
        update_time=time_to_proto(runtime.update_time),
        node=resource_name("nodes", runtime.node) if runtime.node else "",
        placement_problem=problem_to_proto(runtime.placement_problem),
        instance=instance_to_proto(view.instance, now),
        source=runtime.source,
        stuck=problem_to_proto(runtime.stuck),
        replica_of=resource_name("runtimes", runtime.replica_of) if runtime.replica_of else "",
        sleep=_sleep_to_proto(runtime.sleep) if runtime.sleep is not None else None,
    )


def desired_state_to_proto(runtime: Runtime) -> pb.DesiredState.ValueType:
    return pb.DesiredState.Value(f"DESIRED_STATE_{runtime.desired_state.name}")


def spec_to_proto(spec: RuntimeSpec, settings: EngineSettings | None = None) -> pb.RuntimeSpec:
    """`settings`: as its node is told them, with what was chosen for it; None: the spec's own."""
    return pb.RuntimeSpec(
        adapter=spec.adapter,
        display_name=spec.display_name,
        model=resource_name("models", spec.model) if spec.model != NO_MODEL else "",
        profile=spec.profile,
        modalities=[pb.Modality.Value(f"MODALITY_{modality.name}") for modality in spec.modalities],
        accelerator=kind_to_proto(spec.accelerator),
        on_missing_accelerator=pb.MissingAccelerator.Value(f"MISSING_ACCELERATOR_{spec.on_missing_accelerator.name}"),
        auto_start=spec.auto_start,
        preset=spec.preset,
        tags=spec.tags,
        settings=settings_to_proto(spec.settings if settings is None else settings),
        restart=_restart_to_proto(spec.restart),
        node_selector=spec.node_selector,
        process=_process_to_proto(spec.process) if spec.process is not None else None,
        external=_external_to_proto(spec.external) if spec.external is not None else None,
        execution=execution_to_proto(spec.execution),
        placement=_placement_to_proto(spec.placement),
        replicas=spec.replicas,
        residence=_residence_to_proto(spec.residence) if spec.residence != ALWAYS else None,
    )


def _residence_to_proto(residence: Residence) -> pb.ResidenceSettings:
    return pb.ResidenceSettings(
        on_demand=residence.on_demand,
        idle_unload=duration_to_proto(residence.idle_unload),
        keep_loaded=residence.keep_loaded,
    )


def _sleep_to_proto(sleep: Sleep) -> pb.Sleep:
    return pb.Sleep(
        since=time_to_proto(sleep.since),
        cause=sleep.cause.value,
        wake_time=time_to_proto(sleep.wake),
        problem=problem_to_proto(sleep.problem),
    )


def _placement_to_proto(placement: PlacementSettings) -> pb.PlacementSettings:
    return pb.PlacementSettings(
        strategy=pb.PlacementStrategy.Value(f"PLACEMENT_STRATEGY_{placement.strategy.name}"),
        move_after=duration_to_proto(placement.move_after) if placement.move_after is not None else None,
    )


def _process_to_proto(process: ProcessSettings) -> pb.ProcessSettings:
    health = process.health
    return pb.ProcessSettings(
        command=process.command,
        env=process.env,
        working_directory=process.working_directory,
        port=process.port,
        health=pb.HealthCheck(path=health.path, expect_status=health.expect_status, expect_body=health.expect_body),
        openai=process.openai,
    )


def _external_to_proto(external: ExternalSettings) -> pb.ExternalSettings:
    return pb.ExternalSettings(url=external.url, health_path=external.health_path, model=external.model)


def settings_to_proto(settings: EngineSettings) -> pb.EngineSettings:
    return pb.EngineSettings(
        context_length=settings.context_length,
        slots=settings.slots,
        threads=settings.threads,
        gpu_layers=settings.gpu_layers,
        batch_size=settings.batch_size,
        embeddings=settings.embeddings,
        pooling=settings.pooling,
        warm_up=settings.warm_up,
        warm_up_prompts=settings.warm_up_prompts,
        prompt_cache=settings.prompt_cache or "",
        kv_cache_type=settings.kv_cache_type,
    )


def _restart_to_proto(policy: RestartPolicy) -> pb.RestartPolicy:
    return pb.RestartPolicy(max_restarts=policy.max_restarts, window=duration_to_proto(policy.window))
