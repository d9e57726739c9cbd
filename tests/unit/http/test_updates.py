from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.errors import StorageUnavailable
from control_plane.http.updates import KEPT, Updates, _difference
from control_plane.http.versions import Version
from tests.fakes.clock import NOON


@dataclass
class Model:
    """A read model that a test changes by hand."""

    document: dict[str, Any] = field(default_factory=lambda: {"n": 0})
    taken: int = 0
    bells: list[Callable[[], None]] = field(default_factory=list)
    broken: bool = False

    async def take(self) -> Version:
        if self.broken:
            raise StorageUnavailable("The disk is gone.")
        self.taken += 1
        body = json.dumps(self.document).encode()
        return Version(body, str(hash(body)), NOON + timedelta(milliseconds=self.taken))

    def on_ring(self, listener: Callable[[], None]) -> Callable[[], None]:
        self.bells.append(listener)
        return lambda: self.bells.remove(listener)

    def turn(self, **document: Any) -> None:
        self.document = document
        for bell in tuple(self.bells):
            bell()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def updates(model: Model) -> Updates:
    return Updates("thing", model.take, model.on_ring, pause=0)


def parsed(frame: bytes) -> dict[str, Any]:
    said: dict[str, Any] = dict(line.split(": ", 1) for line in frame.decode().splitlines() if line)
    return said | {"data": json.loads(said["data"])}


async def heard(frames: AsyncIterator[bytes]) -> dict[str, Any]:
    async with asyncio.timeout(5):
        return parsed(await anext(frames))


async def test_first_comes_the_whole_then_what_changed(model: Model, updates: Updates) -> None:
    async with aclosing(updates.frames("r")) as frames:
        assert (await heard(frames))["data"] == {"request_id": "r", "resume_from": None}
        whole = await heard(frames)
        assert whole["data"] == {"id": "thing", "document": {"n": 0}}
        model.turn(n=1)
        patch = await heard(frames)
        assert patch["data"] == {"id": "thing", "patch": [{"op": "replace", "path": "/n", "value": 1}]}
        assert patch["id"] != whole["id"]
    assert model.bells == []


async def test_who_reads_slowly_gets_one_patch_to_what_is_now(model: Model, updates: Updates) -> None:
    async with aclosing(updates.frames("r")) as frames:
        await heard(frames)
        await heard(frames)
        for number in range(1, 100):
            model.turn(n=number)
        assert (await heard(frames))["data"]["patch"] == [{"op": "replace", "path": "/n", "value": 99}]


async def test_who_comes_back_in_time_gets_a_patch_from_what_it_has(model: Model, updates: Updates) -> None:
    async with aclosing(updates.frames("r")) as frames:
        await heard(frames)
        tag = (await heard(frames))["id"]
    model.turn(n=1, more=True)
    async with aclosing(updates.frames("r", tag)) as frames:
        assert (await heard(frames))["data"]["resume_from"] == tag
        patch = (await heard(frames))["data"]["patch"]
    assert jsonpatch.apply_patch({"n": 0}, patch) == {"n": 1, "more": True}


async def test_who_comes_back_too_late_gets_the_whole(model: Model, updates: Updates) -> None:
    async with aclosing(updates.frames("r")) as frames:
        await heard(frames)
        tag = (await heard(frames))["id"]
        for number in range(1, KEPT + 1):
            model.turn(n=number)
            await heard(frames)
    async with aclosing(updates.frames("r", tag)) as frames:
        assert (await heard(frames))["data"]["resume_from"] is None
        assert (await heard(frames))["data"]["document"] == {"n": KEPT}


async def test_a_document_is_taken_once_for_all_who_follow_it(model: Model) -> None:
    updates = Updates("thing", model.take, model.on_ring, pause=0.05)
    many = [updates.frames(str(number)) for number in range(50)]
    for frames in many:
        await heard(frames)
    await asyncio.gather(*(heard(frames) for frames in many))
    model.turn(n=1)
    patches = await asyncio.gather(*(heard(frames) for frames in many))
    assert len({patch["id"] for patch in patches}) == 1
    assert model.taken <= 4
    for frames in many:
        await frames.aclose()


async def test_what_cannot_be_read_now_ends_the_stream_and_is_no_version(model: Model, updates: Updates) -> None:
    model.broken = True
    frames = updates.frames("r")
    await heard(frames)
    with pytest.raises(StorageUnavailable):
        await anext(frames)
    model.broken = False
    async with aclosing(updates.frames("r")) as again:
        await heard(again)
        assert (await heard(again))["data"]["document"] == {"n": 0}


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("a/~é", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("a/~é", max_size=3), inner, max_size=4),
    max_leaves=12,
)
_DOCUMENTS = st.dictionaries(st.sampled_from(["a", "b", "c/d", "e~"]), _VALUES, max_size=4)


@given(_DOCUMENTS, _DOCUMENTS)
def test_a_patch_leads_from_any_document_to_any_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    patch = _difference(json.dumps(before).encode(), json.dumps(after).encode())
    assert _same(jsonpatch.apply_patch(before, patch), after)


def _same(one: Any, other: Any) -> bool:
    """As JSON: true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
