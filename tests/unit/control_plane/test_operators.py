from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from control_plane.domain.errors import (
    CertificateExpired,
    CertificateNotActive,
    CertificateRevoked,
    CertificateUnknown,
    InvalidId,
    Unauthenticated,
)
from control_plane.domain.ids import OperatorId
from control_plane.use_cases.authenticate_operator import AuthenticateOperator
from control_plane.use_cases.grant_operator import GrantOperator, OperatorGrant
from tests.fakes.clock import NOON
from tests.fakes.control_plane import World

LOCAL = OperatorId("local")
END = NOON + timedelta(days=1)


async def grant(world: World, serial: str = "aa") -> OperatorGrant:
    return await GrantOperator(world.store, world.clock, world.randomness)(LOCAL, certificate_serial=serial)


async def test_a_token_names_its_operator_and_is_kept_as_a_hash(world: World) -> None:
    given = await grant(world)
    assert given.token.startswith("local.")
    operator = await AuthenticateOperator(world.store, world.clock).by_token(given.token)
    assert operator == given.operator
    assert given.token.partition(".")[2] not in repr(operator)


@pytest.mark.parametrize("token", ["", "local", "local.", "local.wrong", ".x", "nobody.x", "{token}.more", "{token}x"])
async def test_a_wrong_token_is_refused_in_the_same_words(world: World, token: str) -> None:
    given = await grant(world)
    with pytest.raises(Unauthenticated) as caught:
        await AuthenticateOperator(world.store, world.clock).by_token(token.format(token=given.token))
    assert caught.value.text == "The bearer token is not valid."
    assert not caught.value.metadata


async def test_new_credentials_end_the_old_ones(world: World) -> None:
    old, new = await grant(world, "aa"), await grant(world, "bb")
    who = AuthenticateOperator(world.store, world.clock)
    with pytest.raises(Unauthenticated):
        await who.by_token(old.token)
    with pytest.raises(CertificateNotActive):
        await who.by_certificate(LOCAL, "aa", END)
    assert await who.by_token(new.token) == await who.by_certificate(LOCAL, "bb", END)


async def test_an_operator_without_a_token_has_no_token(world: World) -> None:
    given = await grant(world)
    await world.store.write(lambda tx: tx.operators.put(replace(given.operator, token_sha256="")))
    for token in ("local.", given.token):
        with pytest.raises(Unauthenticated):
            await AuthenticateOperator(world.store, world.clock).by_token(token)


async def test_a_certificate_is_refused_with_the_reason(world: World) -> None:
    who = AuthenticateOperator(world.store, world.clock)
    with pytest.raises(CertificateUnknown):
        await who.by_certificate(LOCAL, "aa", END)
    given = await grant(world)
    with pytest.raises(CertificateExpired):
        await who.by_certificate(LOCAL, "aa", NOON)
    with pytest.raises(CertificateNotActive):
        await who.by_certificate(LOCAL, "", END)
    await world.store.write(lambda tx: tx.operators.put(replace(given.operator, revoked=True)))
    with pytest.raises(CertificateRevoked):
        await who.by_certificate(LOCAL, "aa", END)
    with pytest.raises(Unauthenticated):
        await who.by_token(given.token)


async def test_no_certificate_matches_an_operator_that_has_none(world: World) -> None:
    await grant(world, "")
    with pytest.raises(CertificateNotActive):
        await AuthenticateOperator(world.store, world.clock).by_certificate(LOCAL, "", END)


@pytest.mark.parametrize("bad", ["a.b", "a/b", "A", ""])
async def test_an_id_that_could_not_stand_in_a_token_is_refused(world: World, bad: str) -> None:
    with pytest.raises(InvalidId):
        await GrantOperator(world.store, world.clock, world.randomness)(OperatorId(bad))
