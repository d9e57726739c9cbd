"""The read models: where each is found, what it says, and how it is taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from control_plane.http import convert, grid_shapes, job_shapes, project_shapes, shapes, watcher_shapes
from control_plane.http.convert_grid import grid_to_json
from control_plane.http.convert_jobs import jobs_to_json
from control_plane.http.convert_projects import projects_to_json
from control_plane.http.convert_watchers import watchers_to_json
from control_plane.http.orders import Orders
from control_plane.http.versions import Version, version_of
from control_plane.use_cases.get_cluster import GetCluster
from control_plane.use_cases.get_grid import GetGrid
from control_plane.use_cases.get_manifests import GetManifests
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.get_supervisor import GetSupervisor
from control_plane.use_cases.get_watchers import GetWatchers
from control_plane.use_cases.jobs.read_jobs import GetJobs
from control_plane.use_cases.ports import Clock
from control_plane.use_cases.read_projects import GetProjects
from control_plane.use_cases.state_bell import StateBell
from control_plane.use_cases.watch_events import WatchEvents


@dataclass(frozen=True, slots=True)
class Views:
    """The use cases behind the paths."""

    matrix: GetMatrix
    grid: GetGrid
    supervisor: GetSupervisor
    cluster: GetCluster
    manifests: GetManifests
    watchers: GetWatchers
    jobs: GetJobs
    projects: GetProjects
    orders: Orders
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


async def _grid(views: Views) -> shapes.Shape:
    return grid_to_json(await views.grid())


async def _supervisor(views: Views) -> shapes.Shape:
    return convert.supervisor_to_json(await views.supervisor())


async def _runtimes(views: Views) -> shapes.Shape:
    return convert.runtimes_to_json(await views.supervisor())


async def _manifests(views: Views) -> shapes.Shape:
    return convert.manifests_to_json(await views.manifests())


async def _watchers(views: Views) -> shapes.Shape:
    return watchers_to_json(await views.watchers())


async def _jobs(views: Views) -> shapes.Shape:
    return jobs_to_json(await views.jobs())


async def _projects(views: Views) -> shapes.Shape:
    return projects_to_json(await views.projects())


async def _cluster(views: Views) -> shapes.Shape:
    return convert.cluster_to_json(await views.cluster())


DOCUMENTS = (
    Document("runtimes", "/state/runtimes", "Every runtime on one level", shapes.Runtimes, _runtimes),
    Document("runtime_matrix", "/state/runtime_matrix", "The health of every node", shapes.RuntimeMatrix, _matrix),
    Document(
        "runtime_grid",
        "/state/runtime_matrix/grid",
        "How each model does on each accelerator in each kind of sandbox",
        grid_shapes.RuntimeGrid,
        _grid,
    ),
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
    Document(
        "runtime_watchers",
        "/state/runtime/watchers",
        "Whether what is loaded by itself could be loaded",
        watcher_shapes.RuntimeWatchers,
        _watchers,
    ),
    Document("orchestrator_jobs", "/state/orchestrator/jobs", "Work on runtimes", job_shapes.OrchestratorJobs, _jobs),
    Document(
        "projects",
        "/state/projects",
        "Who may ask for inference, and which runtimes answer",
        project_shapes.Projects,
        _projects,
    ),
    Document("cluster", "/state/cluster", "The machines", shapes.Cluster, _cluster),
)
