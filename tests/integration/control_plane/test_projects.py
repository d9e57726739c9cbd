"""Projects through the command line and the contract, against a whole control plane."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from arw.v1.project_pb2 import Combination, Project, ProjectPin
from arw.v1.project_service_pb2 import (
    CreateProjectKeyRequest,
    CreateProjectRequest,
    GetProjectRequest,
    ListProjectKeysRequest,
    ListProjectsRequest,
    RevokeProjectKeyRequest,
    SetProjectPinRequest,
    UpdateProjectRequest,
)
from arw.v1.project_service_pb2_grpc import ProjectServiceStub
from arwctl.main import app
from tests.fakes.http_talk import talking
from tests.fakes.patience import SLACK
from tests.fakes.running_plane import RunningPlane, running_plane
from wire.credentials import CONTROL_PLANE_NAME

_LOGGED = re.compile(r"^\d{4}-\d\d-\d\d .*\n", re.MULTILINE)
"""Lines of the control plane, which is in this process."""


NEWER = Combination.FromString(b"\x28\x63")
"""An execution mode of 99."""


class Shell:
    """The command line as an operator of this control plane calls it."""

    def __init__(self, context: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.context = context
        self._capsys = capsys

    async def __call__(self, *words: str, code: int = 0, group: str = "project") -> str:
        """Standard output; standard error where a failure is expected."""
        ended = await asyncio.to_thread(self._run, [group, *words, "--context", str(self.context)])
        said = self._capsys.readouterr()
        assert ended == code, said.err
        return said.err if code else _LOGGED.sub("", said.out)

    @staticmethod
    def _run(words: list[str]) -> int:
        try:
            app(words, prog_name="arwctl")
        except SystemExit as end:
            return int(end.code or 0)
        return 0


@pytest.fixture
def arwctl(plane: RunningPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    context = tmp_path / "context.json"
    context.write_text(json.dumps({**plane.context, "grpc_address": plane.address("grpc")}))
    return Shell(context, capsys)


async def status(plane: RunningPlane, path: str, key: str) -> int:
    async with talking(plane.ports["http"]) as talk:
        talk.ask("GET", path, authorization=f"Bearer {key}")
        return (await talk.reply()).status


async def until(plane: RunningPlane, key: str, wanted: int) -> None:
    async with asyncio.timeout(10 * SLACK):
        while await status(plane, "/v1/models", key) != wanted:  # noqa: ASYNC110 - the gateway says to nobody when it has heard
            await asyncio.sleep(0.01)


async def test_a_project_from_its_first_key_to_its_end(plane: RunningPlane, arwctl: Shell, tmp_path: Path) -> None:
    await plane.declare("chat")
    assert await arwctl("create", "team/a", "--name", "Team A") == "team/a: created\n"
    key = (await arwctl("key", "create", "team/a", "--label", "ci", "--ttl", "90d")).strip()
    file = tmp_path / "second.key"
    assert str(file) in await arwctl("key", "create", "team/a", "--out", str(file))
    assert (file.stat().st_mode & 0o777, file.read_text().count(".")) == (0o600, 1)
    assert "File exists" in await arwctl("key", "create", "team/a", "--out", str(file), code=1)

    await until(plane, key, 200)
    assert await status(plane, "/state/runtimes", key) == 401
    assert "matches nothing now" in await arwctl("pin", "team/a", "chat", "--node", "ghost")
    pinned = await arwctl("pin", "team/a", "chat", "--adapter", "llama.cpp", "--fallback")
    assert "Pin:                chat -> adapter llama.cpp, else others (matches chat)\n" in pinned
    shown = json.loads(await arwctl("show", "team/a", "-o", "json"))
    assert (shown["live_keys"], shown["pins"][0]["matches"]) == (2, ["runtimes/chat"])
    explained = await arwctl("explain", "chat", group="runtime")
    assert "  project team/a pins chat -> adapter llama.cpp, else others (matches chat)\n" in explained
    (pin,) = json.loads(await arwctl("explain", "chat", "-o", "json", group="runtime"))["pins"]
    assert (pin["project"], pin["asked"], pin["fallback"]) == ("team/a", "chat", True)
    assert await arwctl("unpin", "team/a", "chat") == "team/a: chat is pinned no more\n"

    assert "disabled" in await arwctl("update", "team/a", "--disable")
    await until(plane, key, 403)
    await arwctl("update", "team/a", "--enable")
    await until(plane, key, 200)
    assert await arwctl("key", "revoke", "team/a", key.partition(".")[0]) == f"{key.partition('.')[0]}: revoked\n"
    await until(plane, key, 401)
    listed = await arwctl("key", "list", "team/a")
    assert (listed.count("revoked"), listed.count("live"), "ci" in listed) == (1, 1, True)
    assert key.partition(".")[2] not in listed
    assert "next:" in await arwctl("delete", "team/a", code=1)
    assert await arwctl("delete", "team/a", "--force") == "team/a: deleted\n"
    assert await arwctl("list") == ""


BAD = (
    (GetProjectRequest(name="projects/ghost"), "NOT_FOUND"),
    (GetProjectRequest(name="projects/No Such"), "INVALID_ID"),
    (RevokeProjectKeyRequest(name="projects/ghost"), "INVALID_ID"),
    (RevokeProjectKeyRequest(name="projects/ghost/keys/k"), "NOT_FOUND"),
    (SetProjectPinRequest(parent="projects/ghost", pin=ProjectPin(asked="a")), "INVALID_ARGUMENT"),
    (
        SetProjectPinRequest(parent="projects/ghost", pin=ProjectPin(asked="a", combination=NEWER)),
        "INVALID_ARGUMENT",
    ),
    (
        UpdateProjectRequest(project=Project(name="projects/a"), update_mask=FieldMask(paths=["pins"])),
        "INVALID_ARGUMENT",
    ),
    (ListProjectsRequest(page_token="forged"), "PAGE_TOKEN_INVALID"),
)


async def test_bad_requests_are_refused_with_their_reason(plane: RunningPlane) -> None:
    for request, reason in BAD:
        call = getattr(ProjectServiceStub(plane.channel), type(request).__name__.removesuffix("Request"))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(request)
        assert any(reason in str(value) for _, value in raised.value.trailing_metadata() or ()), request


async def test_a_key_opens_no_call_of_the_contract(plane: RunningPlane, arwctl: Shell) -> None:
    await arwctl("create", "team")
    key = (await arwctl("key", "create", "team")).strip()
    stranger = grpc.ssl_channel_credentials(plane.ca_pem)
    options = [("grpc.ssl_target_name_override", CONTROL_PLANE_NAME)]
    async with grpc.aio.secure_channel(plane.address("grpc"), stranger, options) as channel:
        listing = ProjectServiceStub(channel).ListProjects(
            ListProjectsRequest(), metadata=(("authorization", f"Bearer {key}"),), timeout=5
        )
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await listing
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_every_replica_heeds_a_key_that_another_made_and_revoked(tmp_path: Path, postgres_url: str) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("s" * 48)
    async with (
        running_plane(tmp_path / "a", database=postgres_url, secret=secret) as one,
        running_plane(tmp_path / "b", database=postgres_url, secret=secret) as other,
    ):
        projects = ProjectServiceStub(one.channel)
        await projects.CreateProject(CreateProjectRequest(project_id="team"))
        made = await projects.CreateProjectKey(CreateProjectKeyRequest(parent="projects/team"))
        await until(other, made.secret_text, 200)
        await projects.RevokeProjectKey(RevokeProjectKeyRequest(name=made.key.name))
        async with asyncio.timeout(2.5 * SLACK):
            await until(other, made.secret_text, 401)
        listed = await ProjectServiceStub(other.channel).ListProjectKeys(ListProjectKeysRequest(parent="projects/team"))
        assert [key.HasField("revoke_time") for key in listed.keys] == [True]
