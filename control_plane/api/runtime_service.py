# ruff: noqa: ARG002, N802 - the contract names methods and parameters
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from arw.v1 import runtime_pb2
from arw.v1 import runtime_service_pb2 as pb
from arw.v1.runtime_service_pb2_grpc import RuntimeServiceServicer
from control_plane.api.authorization import caller
from control_plane.api.convert import form_from_proto, runtime_id, verdict_to_proto
from control_plane.api.convert_manifests import (
    applied_to_proto,
    plan_to_proto,
    planned_model_from_proto,
)
from control_plane.api.convert_profiles import choice_to_proto, profiles_to_proto
from control_plane.api.page_tokens import PageTokens
from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.ids import RuntimeId, resource_name
from control_plane.messages.instances import instance_to_proto
from control_plane.messages.problems import problem_to_proto
from control_plane.messages.runtimes import runtime_to_proto
from control_plane.use_cases.apply_manifest import ApplyManifest
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.explain_runtime import ExplainRuntime
from control_plane.use_cases.export_manifest import ExportManifest
from control_plane.use_cases.hibernate_runtime import HibernateRuntime
from control_plane.use_cases.plan_manifest import PlanManifest
from control_plane.use_cases.ports import Clock
from control_plane.use_cases.read_runtimes import GetRuntime, ListRuntimes
from control_plane.use_cases.restore_runtime import RestoreRuntime
from control_plane.use_cases.scale_runtime import ScaleRuntime
from control_plane.use_cases.set_profile import ListProfiles, SetProfile
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from control_plane.use_cases.slices import in_slices
from control_plane.use_cases.wake_runtime import WakeRuntime
from control_plane.use_cases.watch_runtimes import RuntimeChange, WatchRuntimes

MAX_MANIFEST_BYTES = 1024 * 1024


class LogPiece(Protocol):
    @property
    def incarnation(self) -> int: ...

    @property
    def data(self) -> bytes: ...

    @property
    def dropped_bytes(self) -> int: ...


class RuntimeLog(Protocol):
    def __call__(self, runtime: RuntimeId, tail: int, *, follow: bool, whole: bool = False) -> AsyncIterator[LogPiece]:
        """The last lines of a runtime's log, then what follows; or the whole of it."""


@dataclass(frozen=True, slots=True)
class RuntimeUseCases:
    apply: ApplyManifest
    plan: PlanManifest
    export: ExportManifest
    get: GetRuntime
    list: ListRuntimes
    watch: WatchRuntimes
    restore: RestoreRuntime
    shutdown: ShutdownRuntime
    hibernate: HibernateRuntime
    wake: WakeRuntime
    delete: DeleteRuntime
    scale: ScaleRuntime
    set_profile: SetProfile
    list_profiles: ListProfiles
    explain: ExplainRuntime
    log: RuntimeLog


class RuntimeServicer(RuntimeServiceServicer):
    def __init__(self, use_cases: RuntimeUseCases, tokens: PageTokens, clock: Clock) -> None:
        self._do = use_cases
        self._tokens = tokens
        self._clock = clock

    async def ApplyManifest(self, request: pb.ApplyManifestRequest, context: Any) -> pb.ApplyManifestResponse:
        _check_size(request.content)
        applied = await self._do.apply(
            request.content,
            form_from_proto(request.format),
            request.source,
            validate_only=request.validate_only,
            prune=request.prune,
            request_id=request.request_id,
        )
        return await in_slices(applied_to_proto(applied, self._clock.now()))

    async def PlanManifest(self, request: pb.PlanManifestRequest, context: Any) -> pb.PlanManifestResponse:
        _check_size(request.content)
        plan = await self._do.plan(
            request.content,
            form_from_proto(request.format),
            request.source,
            prune=request.prune,
            models=[planned_model_from_proto(model) for model in request.models],
        )
        return plan_to_proto(plan)

    async def ExportManifest(self, request: pb.ExportManifestRequest, context: Any) -> pb.ExportManifestResponse:
        names = [runtime_id(name) for name in request.names]
        return pb.ExportManifestResponse(content=await self._do.export(names, form_from_proto(request.format)))

    async def GetRuntime(self, request: pb.GetRuntimeRequest, context: Any) -> pb.GetRuntimeResponse:
        view = await self._do.get(runtime_id(request.name))
        return pb.GetRuntimeResponse(runtime=runtime_to_proto(view, self._clock.now()))

    async def ListRuntimes(self, request: pb.ListRuntimesRequest, context: Any) -> pb.ListRuntimesResponse:
        who = caller.get().name
        page = await self._do.list(request.page_size, self._tokens.open("ListRuntimes", who, request.page_token))
        runtimes = [runtime_to_proto(view, self._clock.now()) for view in page.items]
        token = self._tokens.seal("ListRuntimes", who, page.next_token)
        return pb.ListRuntimesResponse(runtimes=runtimes, next_page_token=token)

    async def WatchRuntimes(
        self, request: pb.WatchRuntimesRequest, context: Any
    ) -> AsyncIterator[pb.WatchRuntimesResponse]:
        only = runtime_id(request.name) if request.name else None
        async for change in self._do.watch(only):
            yield self._changed(change)

    async def RestoreRuntime(self, request: pb.RestoreRuntimeRequest, context: Any) -> pb.RestoreRuntimeResponse:
        view = await self._do.restore(
            runtime_id(request.name),
            restart=request.restart,
            reset_budget=request.reset_budget,
            request_id=request.request_id,
        )
        return pb.RestoreRuntimeResponse(runtime=runtime_to_proto(view, self._clock.now()))

    async def ShutdownRuntime(self, request: pb.ShutdownRuntimeRequest, context: Any) -> pb.ShutdownRuntimeResponse:
        view = await self._do.shutdown(runtime_id(request.name), request_id=request.request_id)
        return pb.ShutdownRuntimeResponse(runtime=runtime_to_proto(view, self._clock.now()))

    async def HibernateRuntime(self, request: pb.HibernateRuntimeRequest, context: Any) -> pb.HibernateRuntimeResponse:
        view = await self._do.hibernate(runtime_id(request.name), request_id=request.request_id)
        return pb.HibernateRuntimeResponse(runtime=runtime_to_proto(view, self._clock.now()))

    async def WakeRuntime(self, request: pb.WakeRuntimeRequest, context: Any) -> pb.WakeRuntimeResponse:
        view = await self._do.wake(runtime_id(request.name), request_id=request.request_id)
        return pb.WakeRuntimeResponse(runtime=runtime_to_proto(view, self._clock.now()))

    async def DeleteRuntime(self, request: pb.DeleteRuntimeRequest, context: Any) -> pb.DeleteRuntimeResponse:
        await self._do.delete(runtime_id(request.name), etag=request.etag, request_id=request.request_id)
        return pb.DeleteRuntimeResponse()

    async def ScaleRuntime(self, request: pb.ScaleRuntimeRequest, context: Any) -> pb.ScaleRuntimeResponse:
        view = await self._do.scale(
            runtime_id(request.name), request.replicas, etag=request.etag, request_id=request.request_id
        )
        return pb.ScaleRuntimeResponse(runtime=runtime_to_proto(view, self._clock.now()))

    async def SetRuntimeProfile(
        self, request: pb.SetRuntimeProfileRequest, context: Any
    ) -> pb.SetRuntimeProfileResponse:
        view = await self._do.set_profile(
            runtime_id(request.name), request.profile, etag=request.etag, request_id=request.request_id
        )
        return pb.SetRuntimeProfileResponse(runtime=runtime_to_proto(view, self._clock.now()))

    async def ListRuntimeProfiles(
        self, request: pb.ListRuntimeProfilesRequest, context: Any
    ) -> pb.ListRuntimeProfilesResponse:
        return profiles_to_proto(await self._do.list_profiles())

    async def ExplainRuntime(self, request: pb.ExplainRuntimeRequest, context: Any) -> pb.ExplainRuntimeResponse:
        explanation = await self._do.explain(runtime_id(request.name))
        runtime = runtime_to_proto(explanation.view, self._clock.now())
        verdicts = [verdict_to_proto(verdict) for verdict in explanation.verdicts]
        copies = [message for copy in explanation.copies if (message := instance_to_proto(copy, self._clock.now()))]
        waits = problem_to_proto(explanation.waits)
        return pb.ExplainRuntimeResponse(
            runtime=runtime,
            verdicts=verdicts,
            waits=waits,
            copies=copies,
            intents=[choice_to_proto(choice) for choice in explanation.choices],
            unsaid_intents=explanation.unsaid,
        )

    async def StreamLogs(self, request: pb.StreamLogsRequest, context: Any) -> AsyncIterator[pb.StreamLogsResponse]:
        pieces = self._do.log(runtime_id(request.name), request.tail_lines, follow=request.follow, whole=request.whole)
        async for piece in pieces:
            yield pb.StreamLogsResponse(
                incarnation=piece.incarnation, data=piece.data, dropped_bytes=piece.dropped_bytes
            )

    def _changed(self, change: RuntimeChange) -> pb.WatchRuntimesResponse:
        if change.view is not None:
            runtime = runtime_to_proto(change.view, self._clock.now())
        elif change.runtime is not None:
            runtime = runtime_pb2.Runtime(name=resource_name("runtimes", change.runtime), id=change.runtime)
        else:
            return pb.WatchRuntimesResponse(synced=change.synced)
        return pb.WatchRuntimesResponse(runtime=runtime, deleted=change.deleted, synced=change.synced)


def _check_size(content: bytes) -> None:
    if len(content) > MAX_MANIFEST_BYTES:
        raise ManifestInvalid(f"The manifest is larger than {MAX_MANIFEST_BYTES} bytes.", "Split it.")
