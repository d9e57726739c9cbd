# ruff: noqa: ARG002, N802 - the contract names methods and parameters
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from arw.v1 import project_pb2
from arw.v1 import project_service_pb2 as pb
from arw.v1.project_service_pb2_grpc import ProjectServiceServicer
from control_plane.api.authorization import caller
from control_plane.api.page_tokens import PageTokens
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.project import Project
from control_plane.messages.problems import problem_to_proto
from control_plane.messages.projects import key_ids, key_to_proto, pin_from_proto, project_id, project_to_proto
from control_plane.messages.times import duration_from_proto
from control_plane.use_cases.create_project import CreateProject
from control_plane.use_cases.delete_project import DeleteProject
from control_plane.use_cases.project_keys import CreateProjectKey, RevokeProjectKey
from control_plane.use_cases.read_projects import GetProject, KeyView, ListProjectKeys, ListProjects, ViewProjects
from control_plane.use_cases.update_project import DeleteProjectPin, SetProjectPin, UpdateProject

_CHANGEABLE = frozenset({"display_name", "disabled"})


@dataclass(frozen=True, slots=True)
class ProjectUseCases:
    create: CreateProject
    get: GetProject
    list: ListProjects
    update: UpdateProject
    delete: DeleteProject
    create_key: CreateProjectKey
    list_keys: ListProjectKeys
    revoke_key: RevokeProjectKey
    set_pin: SetProjectPin
    delete_pin: DeleteProjectPin
    view: ViewProjects


class ProjectServicer(ProjectServiceServicer):
    def __init__(self, use_cases: ProjectUseCases, tokens: PageTokens) -> None:
        self._do = use_cases
        self._tokens = tokens

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Any) -> pb.CreateProjectResponse:
        project = await self._do.create(
            project_id(request.project_id), display_name=request.display_name, request_id=request.request_id
        )
        return pb.CreateProjectResponse(project=await self._shown(project))

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.GetProjectResponse:
        return pb.GetProjectResponse(project=await self._shown(await self._do.get(project_id(request.name))))

    async def ListProjects(self, request: pb.ListProjectsRequest, context: Any) -> pb.ListProjectsResponse:
        who = caller.get().name
        page = await self._do.list(request.page_size, self._tokens.open("ListProjects", who, request.page_token))
        token = self._tokens.seal("ListProjects", who, page.next_token)
        projects = [project_to_proto(view) for view in await self._do.view(*page.items)]
        return pb.ListProjectsResponse(projects=projects, next_page_token=token)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, context: Any) -> pb.UpdateProjectResponse:
        paths, wish = _paths(request), request.project
        project = await self._do.update(
            project_id(wish.name),
            display_name=wish.display_name if "display_name" in paths else None,
            disabled=wish.disabled if "disabled" in paths else None,
            etag=wish.etag,
        )
        return pb.UpdateProjectResponse(project=await self._shown(project))

    async def DeleteProject(self, request: pb.DeleteProjectRequest, context: Any) -> pb.DeleteProjectResponse:
        project = project_id(request.name)
        await self._do.delete(project, etag=request.etag, force=request.force, request_id=request.request_id)
        return pb.DeleteProjectResponse()

    async def CreateProjectKey(self, request: pb.CreateProjectKeyRequest, context: Any) -> pb.CreateProjectKeyResponse:
        grant = await self._do.create_key(
            project_id(request.parent),
            label=request.label,
            ttl=duration_from_proto(request.ttl) if request.HasField("ttl") else None,
            request_id=request.request_id,
        )
        return pb.CreateProjectKeyResponse(key=key_to_proto(KeyView(grant.key, None)), secret_text=grant.text)

    async def ListProjectKeys(self, request: pb.ListProjectKeysRequest, context: Any) -> pb.ListProjectKeysResponse:
        keys = await self._do.list_keys(project_id(request.parent))
        return pb.ListProjectKeysResponse(keys=[key_to_proto(view) for view in keys])

    async def RevokeProjectKey(self, request: pb.RevokeProjectKeyRequest, context: Any) -> pb.RevokeProjectKeyResponse:
        key = await self._do.revoke_key(*key_ids(request.name))
        return pb.RevokeProjectKeyResponse(key=key_to_proto(KeyView(key, None)))

    async def SetProjectPin(self, request: pb.SetProjectPinRequest, context: Any) -> pb.SetProjectPinResponse:
        pin = pin_from_proto(request.pin)
        (view,) = await self._do.view(await self._do.set_pin(project_id(request.parent), pin, etag=request.etag))
        warnings = [message for each in view.warnings(pin.asked) if (message := problem_to_proto(each))]
        return pb.SetProjectPinResponse(project=project_to_proto(view), warnings=warnings)

    async def DeleteProjectPin(self, request: pb.DeleteProjectPinRequest, context: Any) -> pb.DeleteProjectPinResponse:
        project = await self._do.delete_pin(project_id(request.parent), request.asked, etag=request.etag)
        return pb.DeleteProjectPinResponse(project=await self._shown(project))

    async def _shown(self, project: Project) -> project_pb2.Project:
        (view,) = await self._do.view(project)
        return project_to_proto(view)


def _paths(request: pb.UpdateProjectRequest) -> frozenset[str]:
    paths = frozenset(request.update_mask.paths)
    if not paths <= _CHANGEABLE:
        unknown = ", ".join(sorted(paths - _CHANGEABLE))[:200]
        remedy = "Name display_name or disabled; pins have calls of their own."
        raise InvalidArgument(f"These fields of a project cannot change: {unknown}.", remedy)
    return paths or _CHANGEABLE
