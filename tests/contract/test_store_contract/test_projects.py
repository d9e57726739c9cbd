"""Projects, their keys and the days of their use, on every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.execution import ExecutionMode
from control_plane.domain.ids import KeyId, NodeId, ProjectId, RuntimeId
from control_plane.domain.pin import Combination, Pin
from control_plane.domain.project import KeyUse, Project, ProjectKey
from control_plane.use_cases.ports import Transaction
from control_plane.use_cases.project_book import ProjectBook
from tests.fakes.store_rows import NOON
from tests.fakes.stores import AnyStore

TEAM, KEY = ProjectId("team/a"), KeyId("k1")
WHOLE = Combination(
    RuntimeId("r"), "llama.cpp", NodeId("n"), AcceleratorKind.GPU_CUDA, ExecutionMode.CONTAINER, "silent"
)
PINS = (Pin("chat", WHOLE, fallback=True), Pin("tiny", Combination(adapter="vllm")))
PROJECT = Project(TEAM, "u", "e", NOON, NOON, "Team Ä", disabled=True, pins=PINS)
HELD = ProjectKey(KEY, TEAM, "ab" * 32, NOON, "ci", NOON + timedelta(days=1), NOON)


def fill(tx: Transaction) -> None:
    tx.projects.put(PROJECT)
    tx.project_keys.put(HELD)
    tx.key_uses.put(KeyUse(KEY, date(2026, 11, 20)))


async def test_projects_keys_and_uses_come_back_as_they_were_put(store: AnyStore) -> None:
    await store.write(fill)
    assert await store.read(lambda tx: tx.projects.get(TEAM)) == PROJECT
    assert await store.read(lambda tx: tx.project_keys.all()) == [HELD]
    assert await store.read(lambda tx: tx.key_uses.get(KEY)) == KeyUse(KEY, date(2026, 11, 20))
    assert await store.read(lambda tx: [row.id for row in tx.projects.page("", 5)]) == [TEAM]


async def test_intent_about_projects_is_logged_and_uses_are_not(store: AnyStore) -> None:
    await store.write(fill)
    await store.write(lambda tx: tx.key_uses.put(KeyUse(KEY, date(2026, 11, 21))))
    await store.write(lambda tx: tx.project_keys.delete(KEY))
    logged = await store.read(lambda tx: tx.changes(0))
    assert [(change.revision, change.kind, change.name) for change in logged] == [
        (1, "project_keys", "k1"),
        (1, "projects", "team/a"),
        (2, "project_keys", "k1"),
    ]


@pytest.mark.parametrize("compacted", [False, True])
async def test_who_follows_projects_has_what_is_stored_however_much_was_forgotten(
    store: AnyStore, compacted: bool
) -> None:
    book = ProjectBook(store)
    await store.write(fill)
    await book.look()
    assert (book.projects, book.keys) == ({TEAM: PROJECT}, {KEY: HELD})
    changed = replace(PROJECT, disabled=False)
    await store.write(lambda tx: tx.projects.put(changed))
    await store.write(lambda tx: tx.project_keys.delete(KEY))
    if compacted:
        await store.compact(0)
    await book.look()
    assert (book.projects, book.keys) == ({TEAM: changed}, {})
