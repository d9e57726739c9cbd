from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from control_plane.domain.errors import AlreadyExists, EtagMismatch, InUse, InvalidArgument, InvalidId, NotFound
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.model import ModelPart
from control_plane.use_cases.create_model import CreateModel, NewModel
from control_plane.use_cases.delete_model import DeleteModel
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.read_models import GetModel, ListModels
from tests.fakes.control_plane import World, a_runtime

TINY = ModelId("tiny")
NEW = NewModel(TINY, "/models/tiny.gguf", "ab" * 32, 1024)


def create(world: World) -> CreateModel:
    return CreateModel(world.store, world.clock, world.randomness)


async def test_a_model_is_recorded_and_told(world: World) -> None:
    model = await create(world)(NEW)
    assert (model.path, model.sha256, model.size_bytes, model.format) == (NEW.path, NEW.sha256, 1024, "gguf")
    assert model == await GetModel(world.store)(TINY)
    (event,) = await world.events("models.changed")
    assert event.payload == {"id": "tiny", "change": "created", "sha256": NEW.sha256, "size_bytes": 1024}


async def test_the_same_model_again_is_no_change(world: World) -> None:
    first = await create(world)(NEW)
    revision = await world.revision()
    assert await create(world)(NEW) == first
    assert await create(world)(NEW, replace_existing=True) == first
    assert await world.revision() == revision


async def test_a_projector_is_part_of_a_model_and_checked_like_it(world: World) -> None:
    seeing = replace(NEW, projector=ModelPart("/models/eyes.gguf", "cd" * 32, 10))
    model = await create(world)(seeing)
    assert (model.projector, model.whole_size_bytes) == (seeing.projector, 1034)
    for projector in (ModelPart("eyes", "cd" * 32, 1), ModelPart("/e", "x", 1), ModelPart("/e", "cd" * 32, 0)):
        with pytest.raises(InvalidArgument):
            await create(world)(replace(NEW, projector=projector))
    blind = await create(world)(NEW, replace_existing=True)
    assert blind.etag != model.etag


async def test_another_file_under_one_id_needs_replace(world: World) -> None:
    first = await create(world)(NEW)
    other = replace(NEW, sha256="cd" * 32)
    with pytest.raises(AlreadyExists):
        await create(world)(other)
    changed = await create(world)(other, replace_existing=True)
    assert (changed.uid, changed.sha256) == (first.uid, other.sha256)
    assert changed.etag != first.etag


async def test_a_replaced_model_reaches_the_nodes_that_have_it(world: World) -> None:
    await create(world)(NEW)
    await world.has(a_runtime("chat", "n1"), a_runtime("unplaced"))
    await create(world)(replace(NEW, sha256="cd" * 32), replace_existing=True)
    (row,) = await world.store.read(lambda tx: tx.desired.live(NodeId("n1")))
    assert row.content
    assert row.content.model
    assert row.content.model.sha256 == "cd" * 32
    assert row.revision == await world.revision()


@pytest.mark.parametrize(
    "bad",
    [
        replace(NEW, path="tiny.gguf"),
        replace(NEW, path=""),
        replace(NEW, path="/a\0b"),
        replace(NEW, path="/" + "a" * 4096),
        replace(NEW, sha256="AB" * 32),
        replace(NEW, sha256=""),
        replace(NEW, size_bytes=0),
        replace(NEW, format="pickle"),
    ],
)
async def test_a_model_that_lacks_something_is_refused(world: World, bad: NewModel) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await create(world)(bad)
    assert caught.value.remedy


async def test_a_bad_model_id_is_refused(world: World) -> None:
    with pytest.raises(InvalidId):
        await create(world)(replace(NEW, id=ModelId("Tiny Model")))


async def test_a_repeated_request_is_answered_with_the_model(world: World) -> None:
    request_id = str(uuid.uuid4())
    first = await create(world)(NEW, request_id=request_id)
    assert await create(world)(NEW, request_id=request_id) == first


async def test_a_model_in_use_is_not_deleted(world: World) -> None:
    await create(world)(NEW)
    await world.has(a_runtime())
    delete = DeleteModel(world.store, world.clock)
    with pytest.raises(InUse) as caught:
        await delete(TINY)
    assert "chat" in caught.value.text
    await DeleteRuntime(world.store, world.clock)(RuntimeId("chat"))
    await delete(TINY)
    with pytest.raises(NotFound):
        await GetModel(world.store)(TINY)


async def test_an_old_etag_deletes_no_model(world: World) -> None:
    await create(world)(NEW)
    with pytest.raises(EtagMismatch):
        await DeleteModel(world.store, world.clock)(TINY, etag="old")


async def test_models_come_in_pages(world: World) -> None:
    for name in ("c", "a", "b"):
        await create(world)(replace(NEW, id=ModelId(name)))
    page = await ListModels(world.store)(2)
    assert [model.id for model in page.items] == ["a", "b"]
    assert [model.id for model in (await ListModels(world.store)(2, page.next_token)).items] == ["c"]
