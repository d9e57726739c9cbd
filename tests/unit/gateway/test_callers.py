from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.data_path.callers import OperatorTokens
from control_plane.domain import secret
from control_plane.domain.ids import OperatorId
from control_plane.domain.operator import Operator
from tests.fakes.store_rows import NOON

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
