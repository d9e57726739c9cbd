# ruff: noqa: ARG002, N802 - the contract names methods and parameters
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from arw.v1 import model_service_pb2 as pb
from arw.v1.model_service_pb2_grpc import ModelServiceServicer
from control_plane.api.authorization import caller
from control_plane.api.convert import model_id, model_to_proto, new_model_from_proto
from control_plane.api.page_tokens import PageTokens
from control_plane.use_cases.create_model import CreateModel
from control_plane.use_cases.delete_model import DeleteModel
from control_plane.use_cases.read_models import GetModel, ListModels


@dataclass(frozen=True, slots=True)
class ModelUseCases:
    create: CreateModel
    get: GetModel
    list: ListModels
    delete: DeleteModel


class ModelServicer(ModelServiceServicer):
    def __init__(self, use_cases: ModelUseCases, tokens: PageTokens) -> None:
        self._do = use_cases
        self._tokens = tokens

    async def CreateModel(self, request: pb.CreateModelRequest, context: Any) -> pb.CreateModelResponse:
        new = new_model_from_proto(request)
        model = await self._do.create(new, replace_existing=request.replace, request_id=request.request_id)
        return pb.CreateModelResponse(model=model_to_proto(model))

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        return pb.GetModelResponse(model=model_to_proto(await self._do.get(model_id(request.name))))

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        who = caller.get().name
        page = await self._do.list(request.page_size, self._tokens.open("ListModels", who, request.page_token))
        token = self._tokens.seal("ListModels", who, page.next_token)
        return pb.ListModelsResponse(models=[model_to_proto(model) for model in page.items], next_page_token=token)

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Any) -> pb.DeleteModelResponse:
        await self._do.delete(model_id(request.name), etag=request.etag)
        return pb.DeleteModelResponse()
