from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.ids import ModelId
from control_plane.domain.model import Model
from control_plane.use_cases.paging import Page, page_of
from control_plane.use_cases.ports import Store
from control_plane.use_cases.rows import model_of


@dataclass(frozen=True, slots=True)
class GetModel:
    """NotFound."""

    store: Store

    async def __call__(self, model: ModelId) -> Model:
        return await self.store.read(lambda tx: model_of(tx, model))


@dataclass(frozen=True, slots=True)
class ListModels:
    """In id order. PageTokenInvalid."""

    store: Store

    async def __call__(self, page_size: int = 0, page_token: str = "") -> Page[Model]:
        return await self.store.read(lambda tx: page_of(tx.models, "models", page_size, page_token))
