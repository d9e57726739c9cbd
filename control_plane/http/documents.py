"""The read models: where each is found, what it says, and how it is taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from control_plane.http import convert, shapes
from control_plane.http.versions import Version, version_of
from control_plane.use_cases.get_cluster import GetCluster
from control_plane.use_cases.get_manifests import GetManifests
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.get_supervisor import GetSupervisor
from control_plane.use_cases.ports import Clock
from control_plane.use_cases.state_bell import StateBell
from control_plane.use_cases.watch_events import WatchEvents


@dataclass(frozen=True, slots=True)
class Views:
    """The use cases behind the paths."""

    matrix: GetMatrix
    supervisor: GetSupervisor
    cluster: GetCluster
    manifests: GetManifests
    events: WatchEvents
    bell: StateBell
    clock: Clock


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    path: str
    summary: str
    shape: type[shapes.Shape]
    read: Callable[[Views], Awaitable[shapes.Shape]]

    async def taken(self, views: Views) -> Version:
        return version_of(await self.read(views), views.clock.now())


async def _matrix(views: Views) -> shapes.Shape:
    return convert.matrix_to_json(await views.matrix())


async def _supervisor(views: Views) -> shapes.Shape:
    return convert.supervisor_to_json(await views.supervisor())


async def _runtimes(views: Views) -> shapes.Shape:
    return convert.runtimes_to_json(await views.supervisor())


async def _manifests(views: Views) -> shapes.Shape:
    return convert.manifests_to_json(await views.manifests())


async def _cluster(views: Views) -> shapes.Shape:
    return convert.cluster_to_json(await views.cluster())


DOCUMENTS = (
    Document("runtimes", "/state/runtimes", "Every runtime on one level", shapes.Runtimes, _runtimes),
    Document("runtime_matrix", "/state/runtime_matrix", "The health of every node", shapes.RuntimeMatrix, _matrix),
    Document(
        "runtime_supervisor",
        "/state/runtime_supervisor",
        "What is wanted of every runtime, and what is",
        shapes.RuntimeSupervisor,
        _supervisor,
    ),
    Document(
        "runtime_manifests",
        "/state/runtime/manifests",
        "Where runtimes are declared",
        shapes.RuntimeManifests,
        _manifests,
    ),
    Document("cluster", "/state/cluster", "The machines", shapes.Cluster, _cluster),
)
