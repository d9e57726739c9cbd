from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.data_path.callers import InferenceCallers, OperatorTokens
from control_plane.domain import secret
from control_plane.domain.ids import KeyId, OperatorId, ProjectId
from control_plane.domain.operator import Operator
from control_plane.domain.project import Project, ProjectKey
from control_plane.store.memory import MemoryStore
from control_plane.use_cases.project_book import ProjectBook
from gateway.ports import Caller
from gateway.refusals import ProjectDisabled, Unauthorized
from tests.fakes.store_rows import NOON, StandingClock

DAY = timedelta(days=1)
LOCAL = Operator(OperatorId("local"), "Local", secret.hashed("s3cret"), NOON)


def tokens(*operators: Operator) -> tuple[OperatorTokens, list[int]]:
    misses: list[int] = []
    made = OperatorTokens(lambda: misses.append(1))
    made.replace(operators)
    return made, misses


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_a_good_token_names_its_operator(scheme: str) -> None:
    known, misses = tokens(LOCAL)
    caller = known.authenticate(f"{scheme} local.s3cret")
    assert caller is not None
    assert (caller.id, misses) == ("local", [])


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer local.",
        "Bearer .s3cret",
        "Bearer local.wrong",
        "Basic local.s3cret",
        "x.y",
    ],
)
def test_anything_else_names_nobody_and_asks_for_newer_hashes(authorization: str | None) -> None:
    known, misses = tokens(LOCAL)
    assert known.authenticate(authorization) is None
    assert misses == [1]


@pytest.mark.parametrize("operator", [replace(LOCAL, revoked=True), replace(LOCAL, token_sha256="")])
def test_a_revoked_operator_or_one_without_a_token_is_nobody(operator: Operator) -> None:
    known, _ = tokens(operator)
    assert known.authenticate("Bearer local.s3cret") is None
    assert known.authenticate("Bearer local.") is None


TEAM, KEY = ProjectId("team"), KeyId("k1")
HELD = ProjectKey(KEY, TEAM, secret.hashed("hunter2"), NOON, "ci", NOON + DAY)


async def inference(*rows: ProjectKey, disabled: bool = False) -> tuple[InferenceCallers, StandingClock, list[int]]:
    clock = StandingClock()
    store, (operators, misses) = MemoryStore(clock), tokens(LOCAL)
    await store.write(lambda tx: tx.projects.put(Project(TEAM, "u", "e", NOON, NOON, disabled=disabled)))
    for row in rows:
        await store.write(lambda tx, row=row: tx.project_keys.put(row))  # type: ignore[misc]
    book = ProjectBook(store)
    await book.look()
    return InferenceCallers(operators, book, clock), clock, misses


async def test_a_key_speaks_for_its_project_and_an_operator_for_none() -> None:
    known, _, misses = await inference(HELD)
    assert known.authenticate("Bearer k1.hunter2") == Caller("k1", "ci", "team")
    assert known.authenticate("Bearer local.s3cret") == Caller("local", "Local", "")
    assert misses == []


@pytest.mark.parametrize("authorization", ["Bearer k1.wrong", "Bearer k1.", "Basic k1.hunter2", "Bearer team.hunter2"])
async def test_a_wrong_key_names_nobody_and_learns_nothing(authorization: str) -> None:
    known, _, misses = await inference(replace(HELD, revoke_time=NOON), disabled=True)
    assert known.authenticate(authorization) is None
    assert misses == [1]


async def test_a_key_ends_with_its_life_and_with_its_project() -> None:
    known, clock, _ = await inference(HELD)
    clock.advance(DAY)
    with pytest.raises(Unauthorized, match="This key of project team is expired"):
        known.authenticate("Bearer k1.hunter2")
    known, _, _ = await inference(replace(HELD, revoke_time=NOON))
    with pytest.raises(Unauthorized, match="is revoked"):
        known.authenticate("Bearer k1.hunter2")
    known, _, _ = await inference(HELD, disabled=True)
    with pytest.raises(ProjectDisabled) as raised:
        known.authenticate("Bearer k1.hunter2")
    assert "arwctl project update team --enable" in raised.value.remedy


async def test_the_day_of_a_use_is_told_once() -> None:
    known, _, _ = await inference(HELD)
    for _ in range(3):
        known.authenticate("Bearer k1.hunter2")
    known.authenticate("Bearer k1.wrong")
    assert known.taken_uses() == {KEY: NOON.date()}
    assert known.taken_uses() == {}
