"""Keys of projects over real HTTP: what they open, what they do not, and whom a pin sends where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.domain.ids import NodeId, ProjectId, RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.pin import Combination, Pin
from control_plane.use_cases.create_project import CreateProject
from control_plane.use_cases.project_book import ProjectBook
from control_plane.use_cases.project_keys import CreateProjectKey, KeyGrant, RevokeProjectKey
from control_plane.use_cases.randomness import SystemRandomness
from control_plane.use_cases.read_projects import ListProjectKeys
from control_plane.use_cases.update_project import SetProjectPin, UpdateProject
from tests.fakes.http_talk import Reply, talking
from tests.fakes.patience import SLACK
from tests.integration.gateway.test_control_plane_http import CHAT, Plane, running_plane

TEAM = ProjectId("team")
CLOSED = (
    ("GET", "/state/runtimes"),
    ("GET", "/state/cluster?watch=true"),
    ("GET", "/events"),
    ("GET", "/openapi.json"),
    ("POST", "/orchestrator/runtimes/tiny-chat/shutdown"),
    ("GET", "/nothing"),
)


class Team:
    """A project with one key, beside a runtime that serves."""

    def __init__(self, plane: Plane, grant: KeyGrant) -> None:
        self.plane = plane
        self.grant = grant

    async def ask(self, method: str = "POST", path: str = CHAT) -> Reply:
        body = {"model": "tiny-chat"} if path == CHAT else None
        async with talking(self.plane.port) as talk:
            talk.ask(method, path, body, authorization=f"Bearer {self.grant.text}")
            return await talk.reply()

    async def until(self, status: int) -> Reply:
        """What a change does is seen within a tick, and as a rule at once."""
        async with asyncio.timeout(5 * SLACK):
            while (reply := await self.ask()).status != status:  # noqa: ASYNC110 - the gateway says to nobody when it has heard
                await asyncio.sleep(0.01)
            return reply

    async def pin(self, combination: Combination, *, fallback: bool = False) -> None:
        pin = Pin("tiny-chat", combination, fallback)
        await SetProjectPin(self.plane.store, self.plane.clock)(TEAM, pin)


@pytest.fixture
async def team(short_folder: Path) -> AsyncIterator[Team]:
    async with running_plane(short_folder) as plane:
        await plane.declare()
        plane.report(InstanceState.READY)
        await CreateProject(plane.store, plane.clock, SystemRandomness())(TEAM)
        made = CreateProjectKey(plane.store, plane.clock, SystemRandomness())
        yield Team(plane, await made(TEAM, label="ci", ttl=timedelta(hours=1)))


async def test_a_key_opens_inference_and_nothing_else(team: Team) -> None:
    assert (await team.until(200)).status == 200
    assert (await team.ask("GET", "/v1/models")).json()["data"][0]["id"] == "tiny-chat"
    for method, path in CLOSED:
        refused = await team.ask(method, path)
        assert (path, refused.status, refused.headers["content-type"]) == (path, 401, "application/problem+json")
    await team.plane.data_path._record_uses()
    (key,) = await ListProjectKeys(team.plane.store, ProjectBook(team.plane.store))(TEAM)
    assert key.last_use == team.plane.clock.now().date()
    (asked,) = team.plane.engine.requests
    assert not any(team.grant.text.encode() in value for _, value in asked.headers)


async def test_a_disabled_project_and_a_revoked_or_expired_key_are_refused_in_openais_shape(team: Team) -> None:
    plane, grant = team.plane, team.grant
    await team.until(200)
    update = UpdateProject(plane.store, plane.clock)
    await update(TEAM, disabled=True)
    error = (await team.until(403)).json()["error"]
    assert (error["type"], error["code"]) == ("permission_error", "project_disabled")
    await update(TEAM, disabled=False)
    await team.until(200)
    plane.clock.advance(timedelta(hours=1))
    assert "expired" in (await team.until(401)).json()["error"]["message"]
    plane.clock.advance(-timedelta(hours=1))
    await RevokeProjectKey(plane.store, plane.clock)(TEAM, grant.key.id)
    error = (await team.until(401)).json()["error"]
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    assert "revoked" in error["message"]


async def test_a_pin_is_kept_to_and_its_refusal_says_how_to_be_rid_of_it(team: Team) -> None:
    await team.until(200)
    await team.pin(Combination(node=NodeId("elsewhere")))
    refused = await team.until(503)
    error = refused.json()["error"]
    assert error["code"] == "pin_not_serving"
    assert "arwctl project unpin team tiny-chat" in refused.body.decode()
    assert (await team.plane.chat()).status == 200
    await team.pin(Combination(node=NodeId("elsewhere")), fallback=True)
    await team.until(200)
    await team.pin(Combination(runtime=RuntimeId("tiny-chat"), node=NodeId("box")))
    await asyncio.sleep(0)
    assert (await team.ask()).status == 200
