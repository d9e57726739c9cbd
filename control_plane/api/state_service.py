# ruff: noqa: ARG002, N802 - the contract names methods and parameters
from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arw.v1 import state_service_pb2 as pb
from arw.v1.state_service_pb2_grpc import StateServiceServicer
from control_plane.api.convert import event_to_proto, matrix_to_proto, supervisor_to_proto
from control_plane.api.convert_state import grid_to_proto, replica_to_proto, watchers_to_proto
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.replica import Replica
from control_plane.use_cases.get_grid import GetGrid
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.get_supervisor import GetSupervisor
from control_plane.use_cases.get_watchers import GetWatchers
from control_plane.use_cases.ports import Clock
from control_plane.use_cases.read_events import ListEvents
from control_plane.use_cases.watch_events import WatchEvents

MAX_PREFIXES = 32
MAX_PREFIX = 128
MAX_EVENT_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class StateUseCases:
    matrix: GetMatrix
    grid: GetGrid
    supervisor: GetSupervisor
    watchers: GetWatchers
    replicas: Callable[[], Sequence[Replica]]
    list_events: ListEvents
    watch_events: WatchEvents


class StateServicer(StateServiceServicer):
    def __init__(self, use_cases: StateUseCases, clock: Clock) -> None:
        self._do = use_cases
        self._clock = clock

    async def GetRuntimeMatrix(self, request: pb.GetRuntimeMatrixRequest, context: Any) -> pb.GetRuntimeMatrixResponse:
        return pb.GetRuntimeMatrixResponse(matrix=matrix_to_proto(await self._do.matrix()))

    async def GetRuntimeGrid(self, request: pb.GetRuntimeGridRequest, context: Any) -> pb.GetRuntimeGridResponse:
        return pb.GetRuntimeGridResponse(grid=grid_to_proto(await self._do.grid()))

    async def GetWatchers(self, request: pb.GetWatchersRequest, context: Any) -> pb.GetWatchersResponse:
        return pb.GetWatchersResponse(watchers=watchers_to_proto(await self._do.watchers()))

    async def ListReplicas(self, request: pb.ListReplicasRequest, context: Any) -> pb.ListReplicasResponse:
        return pb.ListReplicasResponse(replicas=map(replica_to_proto, self._do.replicas()))

    async def GetSupervisor(self, request: pb.GetSupervisorRequest, context: Any) -> pb.GetSupervisorResponse:
        snapshot = await self._do.supervisor()
        return pb.GetSupervisorResponse(supervisor=supervisor_to_proto(snapshot, self._clock.now()))

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> pb.ListEventsResponse:
        after = min(request.after_id, MAX_EVENT_ID)
        events = await self._do.list_events(_prefixes(request.prefixes), request.page_size, after)
        return pb.ListEventsResponse(events=[event_to_proto(event) for event in events])

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Any) -> AsyncIterator[pb.WatchEventsResponse]:
        after = min(request.after_id, MAX_EVENT_ID) if request.HasField("after_id") else None
        prefixes = _prefixes(request.prefixes)
        async for event in self._do.watch_events(prefixes, after_id=after, replay=request.replay):
            yield pb.WatchEventsResponse(event=event_to_proto(event))


def _prefixes(prefixes: Sequence[str]) -> Sequence[str]:
    if len(prefixes) > MAX_PREFIXES or any(len(prefix) > MAX_PREFIX for prefix in prefixes):
        raise InvalidArgument(
            "Too many prefixes, or one is too long.", f"Send at most {MAX_PREFIXES} of {MAX_PREFIX} characters."
        )
    return list(prefixes)
