"""Which models a server says that it has: GET /v1/models."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from node_agent.domain.errors import EngineIdentityMismatch
from node_agent.runtimes.kinds.http_engine import bearer
from node_agent.runtimes.probe import HOST, Answer, NoAnswer, get

PATH = "/v1/models"
OK, UNAUTHORIZED = 200, 401


class _Model(msgspec.Struct):
    id: str
    aliases: list[str] = []


class _Models(msgspec.Struct):
    data: list[_Model] = []


async def listed(port: int, key: str, patience: timedelta, host: str = HOST) -> Answer | None:
    """None when it does not answer in time."""
    try:
        return await get(port, PATH, patience, bearer(key), host)
    except NoAnswer:
        return None


async def prove_by_key(runtime_id: str, port: int, key: str, patience: timedelta) -> None:
    """Our key opens, another does not, and the model goes by our name: a stranger on the port knows neither."""
    ours = await listed(port, key, patience)
    others = await listed(port, secrets.token_urlsafe(32), patience)
    if ours is None or others is None or others.status != UNAUTHORIZED or runtime_id not in names(ours):
        raise identity_mismatch(port)


def identity_mismatch(port: int) -> EngineIdentityMismatch:
    return EngineIdentityMismatch(
        f"What answers on port {port} is not the engine that was started.",
        "Look for another program that uses this port; the engine is started again with another one.",
        port=str(port),
    )


def ids(answer: Answer) -> Sequence[str]:
    """Of each model; empty when the answer is no list of models."""
    return [model.id for model in _models(answer)]


def names(answer: Answer) -> Sequence[str]:
    """Every id and alias."""
    return [name for model in _models(answer) for name in (model.id, *model.aliases)]


def _models(answer: Answer) -> Sequence[_Model]:
    try:
        return msgspec.json.decode(answer.body, type=_Models).data if answer.status == OK else ()
    except msgspec.DecodeError:
        return ()
