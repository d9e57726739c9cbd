from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from control_plane.domain import secret
from control_plane.domain.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidId,
    NodeQuarantined,
    NotFound,
    RequestIdReused,
    TokenExpired,
    TokenInvalid,
    TokenUsed,
)
from control_plane.domain.ids import NodeId, TokenId
from control_plane.domain.join_token import DEFAULT_TTL, MAX_TTL
from control_plane.domain.node import Standing
from control_plane.use_cases.approve_node import ApproveNode
from control_plane.use_cases.create_join_token import CreateJoinToken, JoinTokenGrant
from control_plane.use_cases.delete_join_token import DeleteJoinToken
from control_plane.use_cases.enroll_node import EnrollNode, Enrolment
from control_plane.use_cases.randomness import SystemRandomness
from control_plane.use_cases.read_join_tokens import ListJoinTokens
from control_plane.use_cases.revoke_node import RevokeNode
from tests.fakes.control_plane import World, a_node

N1 = NodeId("n1")
KEY, OTHER_KEY = b"csr:one", b"csr:other"


async def grant(
    world: World, *, node: str | None = None, requires_approval: bool = False, request_id: str = ""
) -> JoinTokenGrant:
    create = CreateJoinToken(world.store, world.clock, world.randomness)
    return await create(
        node=NodeId(node) if node else None,
        labels={"site": "a"},
        requires_approval=requires_approval,
        request_id=request_id,
    )


async def enroll(world: World, token: str, csr: bytes = KEY, wish: str = "") -> Enrolment:
    use_case = EnrollNode(world.store, world.clock, world.randomness, world.authority)
    return await use_case(token, csr, machine_id_hash="machine", wish=wish)


async def joined(world: World, name: str = "n1", csr: bytes = KEY) -> Enrolment:
    return await enroll(world, (await grant(world)).text, csr, name)


async def test_a_token_lets_one_machine_in_at_once(world: World) -> None:
    enrolment = await joined(world)
    assert enrolment.node == "n1"
    assert enrolment.certificate
    assert enrolment.poll_after is None
    node = await world.node()
    assert node.standing is Standing.ADMITTED
    assert node.labels == {"site": "a"}
    assert node.machine_id_hash == "machine"
    assert node.certificate_serial == enrolment.certificate.serial
    assert node.public_key_sha256 == enrolment.certificate.public_key_sha256
    assert node.etag
    (event,) = await world.events("cluster.node.changed")
    assert (event.payload["state"], event.payload["cause"]) == ("enrolled", "enrolled")


async def test_the_token_names_the_node_then_the_wish_then_the_token(world: World) -> None:
    bound = await grant(world, node="bound")
    assert (await enroll(world, bound.text, wish="wish")).node == "bound"
    assert (await joined(world, "wish")).node == "wish"
    free = await grant(world)
    assert (await enroll(world, free.text)).node == f"node-{free.token.id}"


async def test_the_secret_is_long_kept_as_a_hash_and_given_once(world: World) -> None:
    world.randomness = SystemRandomness()  # type: ignore[assignment]
    given = await grant(world)
    token_id, text = secret.parted(given.text) or ("", "")
    assert token_id == given.token.id
    assert len(text) * 5 >= 128
    assert set(text) <= set("0123456789abcdefghjkmnpqrstvwxyz")
    (stored,) = (await ListJoinTokens(world.store)()).items
    assert stored.secret_sha256 == secret.hashed(text)
    assert text not in repr(stored)


@pytest.mark.parametrize("change", ["{id}.wrong", "nobody.{secret}", "{id}.", ".{secret}", "{id}", "", "{text}.pin"])
async def test_a_wrong_token_is_refused_in_the_same_words(world: World, change: str) -> None:
    given = await grant(world)
    token_id, text = given.text.split(".")
    with pytest.raises(TokenInvalid) as caught:
        await enroll(world, change.format(id=token_id, secret=text, text=given.text))
    assert caught.value.text == "The join token is not valid."
    assert not caught.value.metadata
    assert await world.store.read(lambda tx: tx.nodes.all()) == []


async def test_a_used_token_lets_nobody_else_in(world: World) -> None:
    given = await grant(world)
    await enroll(world, given.text, wish="n1")
    with pytest.raises(TokenUsed):
        await enroll(world, given.text, OTHER_KEY, "n2")


async def test_an_expired_token_lets_nobody_in(world: World) -> None:
    given = await grant(world)
    world.clock.advance(DEFAULT_TTL)
    with pytest.raises(TokenExpired) as caught:
        await enroll(world, given.text)
    assert caught.value.metadata["expire_time"] == "2026-11-20T12:15:00Z"


async def test_the_same_key_may_repeat_its_call_and_only_the_last_certificate_counts(world: World) -> None:
    given = await grant(world)
    first = await enroll(world, given.text, wish="n1")
    second = await enroll(world, given.text, wish="n1")
    assert first.certificate
    assert second.certificate
    assert (await world.node()).certificate_serial == second.certificate.serial != first.certificate.serial


async def test_a_repeat_after_the_end_of_the_token_counts_until_the_node_has_connected(world: World) -> None:
    given = await grant(world)
    await enroll(world, given.text, wish="n1")
    world.clock.advance(timedelta(hours=1))
    assert (await enroll(world, given.text)).certificate
    await world.store.write(lambda tx: tx.open_session(N1))
    with pytest.raises(TokenExpired):
        await enroll(world, given.text)


async def test_a_revoked_node_cannot_repeat_its_token(world: World) -> None:
    given = await grant(world)
    await enroll(world, given.text, wish="n1")
    await RevokeNode(world.store, world.fleet, world.clock)(N1)
    with pytest.raises(TokenUsed):
        await enroll(world, given.text)


async def test_a_node_that_needs_approval_asks_again_until_it_has_it(world: World) -> None:
    given = await grant(world, requires_approval=True)
    pending = await enroll(world, given.text, wish="n1")
    assert pending.certificate is None
    assert pending.poll_after == timedelta(seconds=5)
    assert (await world.node()).standing is Standing.WAITING_FOR_APPROVAL
    world.clock.advance(timedelta(hours=1))
    assert (await enroll(world, given.text)).certificate is None
    await ApproveNode(world.store, world.fleet, world.clock)(N1)
    assert (await enroll(world, given.text)).certificate


async def test_another_key_cannot_take_a_name_with_an_unbound_token(world: World) -> None:
    await joined(world)
    with pytest.raises(AlreadyExists):
        await joined(world, csr=OTHER_KEY)
    unused = (await ListJoinTokens(world.store)()).items
    assert sum(token.use_time is None for token in unused) == 1, "a refused call uses no token up"


async def test_a_token_bound_to_the_name_replaces_the_key(world: World) -> None:
    first = await joined(world)
    bound = await grant(world, node="n1")
    second = await enroll(world, bound.text, OTHER_KEY)
    node = await world.node()
    assert first.certificate
    assert second.certificate
    assert node.certificate_serial == second.certificate.serial
    assert node.public_key_sha256 != first.certificate.public_key_sha256


async def test_the_same_key_may_join_again_with_a_new_token(world: World) -> None:
    await joined(world)
    uid = (await world.node()).uid
    assert (await joined(world)).certificate
    assert (await world.node()).uid == uid


async def test_a_revoked_node_returns_by_a_new_token_as_a_new_one(world: World) -> None:
    await world.has(a_node("n1", standing=Standing.REVOKED, session_epoch=7, labels={"old": "x"}))
    await joined(world, csr=OTHER_KEY)
    node = await world.node()
    assert node.standing is Standing.ADMITTED
    assert node.session_epoch == 7
    assert node.labels == {"site": "a"}
    assert node.uid != "uid-n1"


async def test_a_quarantined_node_does_not_return_by_a_token(world: World) -> None:
    await world.has(a_node("n1", standing=Standing.QUARANTINED))
    bound = await grant(world, node="n1")
    with pytest.raises(NodeQuarantined):
        await enroll(world, bound.text)


async def test_a_bad_request_or_wish_uses_no_token_up(world: World) -> None:
    given = await grant(world)
    with pytest.raises(InvalidArgument):
        await enroll(world, given.text, b"nonsense")
    with pytest.raises(InvalidId):
        await enroll(world, given.text, wish="No Name")
    assert (await enroll(world, given.text)).certificate


@pytest.mark.parametrize("ttl", [timedelta(), timedelta(seconds=-1), MAX_TTL + timedelta(seconds=1)])
async def test_a_life_out_of_range_is_refused(world: World, ttl: timedelta) -> None:
    with pytest.raises(InvalidArgument):
        await CreateJoinToken(world.store, world.clock, world.randomness)(ttl=ttl)


async def test_bad_labels_and_names_make_no_token(world: World) -> None:
    create = CreateJoinToken(world.store, world.clock, world.randomness)
    with pytest.raises(InvalidArgument):
        await create(labels={"a b": "c"})
    with pytest.raises(InvalidId):
        await create(node=NodeId("A"))


async def test_a_repeated_request_makes_no_second_token_but_a_new_secret(world: World) -> None:
    request_id = str(uuid.uuid4())
    lost = await grant(world, request_id=request_id)
    again = await grant(world, request_id=request_id)
    assert again.token.id == lost.token.id
    assert len((await ListJoinTokens(world.store)()).items) == 1
    with pytest.raises(TokenInvalid):
        await enroll(world, lost.text)
    assert (await enroll(world, again.text)).certificate
    with pytest.raises(TokenUsed):
        await grant(world, request_id=request_id)
    with pytest.raises(RequestIdReused):
        await grant(world, node="n9", request_id=request_id)


async def test_a_deleted_token_lets_nobody_in(world: World) -> None:
    given = await grant(world)
    delete = DeleteJoinToken(world.store)
    await delete(given.token.id)
    with pytest.raises(TokenInvalid):
        await enroll(world, given.text)
    with pytest.raises(NotFound):
        await delete(TokenId("nobody"))


def test_secrets_are_written_in_crockford_base32() -> None:
    assert secret.crockford(bytes(5)) == "00000000"
    assert secret.crockford(b"\xff" * 5) == "zzzzzzzz"
    assert secret.crockford(b"\x00\x00\x00\x00\x01") == "00000001"
    assert secret.crockford(b"\xff") == "7z"


def test_an_empty_hash_matches_nothing() -> None:
    assert not secret.matches("", "")
    assert not secret.matches("x", "")
    assert secret.matches("x", secret.hashed("x"))


def test_no_two_tokens_of_the_system_are_alike() -> None:
    randomness = SystemRandomness()
    assert len({randomness.secret(20) for _ in range(100)}) == 100
    assert len({uuid.UUID(randomness.uid()).version for _ in range(100)}) == 1
