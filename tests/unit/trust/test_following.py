"""Replicas follow the authorities of their database, step by step, with the keys that each has."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509

from control_plane.domain.authority import Authority, AuthorityState, AuthorityStep
from control_plane.domain.errors import CertificateRevoked, InUse, InvalidArgument, StorageUnavailable
from control_plane.domain.ids import NodeId
from control_plane.domain.rotation import Rotation
from control_plane.store.memory import MemoryStore
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from control_plane.trust.following import TrustKeeper
from control_plane.trust.server_certificate import ServerCertificate
from control_plane.trust.shared_authority import SharedAuthority
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.rotate_authority import PrepareAuthority, ReadRotation, StepAuthority
from tests.fakes.clock import FakeClock
from wire.credentials import csr_der, issuer_id, new_key

SECRET = "s" * 32


@dataclass
class Replica:
    """A process of a control plane, as far as trust goes."""

    folder: Path
    store: MemoryStore
    clock: FakeClock
    secret_file: str
    alone: bool = False
    told: int = 0
    authority: EmbeddedAuthority = field(init=False)
    keeper: TrustKeeper = field(init=False)
    certificate: ServerCertificate = field(init=False)

    async def start(self) -> Replica:
        shared = SharedAuthority(self.folder, self.clock, Lifetimes(), self.secret_file, alone=self.alone)
        self.authority = await shared.open(self.store)
        self.certificate = ServerCertificate(self.folder, self.authority, self.clock, ())
        self.keeper = TrustKeeper(self.store, shared, self.authority, self.certificate)
        await self.keeper.refresh()
        self.keeper.on_change(self._told)
        return self

    async def _told(self) -> None:
        self.told += 1

    async def prepare(self, *, others_run: bool = False) -> Rotation:
        return await PrepareAuthority(self.store, self.clock, self.keeper, self.read, lambda: others_run)()

    async def step(self, step: AuthorityStep) -> None:
        await StepAuthority(self.store, self.clock, self.keeper, self.read)(step)

    @property
    def read(self) -> ReadRotation:
        return ReadRotation(self.store, Mirror(self.store), self.clock)

    def signed_by(self) -> str:
        """Who signs for a node now, by the leaf itself."""
        leaf = x509.load_der_x509_certificate(self.authority.issue_node(csr_der(new_key()), NodeId("n1")).chain[0])
        assert self.authority.vouches_for(leaf)
        return issuer_id(leaf)

    def shown(self) -> str:
        """Who signed what the listeners show."""
        return issuer_id(x509.load_pem_x509_certificates(self.certificate.chain_path.read_bytes())[0])

    def trusted(self) -> int:
        return len(x509.load_pem_x509_certificates(self.certificate.ca_path.read_bytes()))

    def keys(self) -> int:
        return len(list(self.folder.glob("ca*.key")))


@dataclass
class Site:
    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)

    async def replica(self, name: str, *, secret: str = "", alone: bool = False) -> Replica:
        directory = self.folder / name
        directory.mkdir(exist_ok=True)
        file = self.folder / "secret"
        file.write_text(secret or SECRET)
        file.chmod(0o600)
        return await Replica(directory, self.store, self.clock, str(file) if secret else "", alone).start()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_every_replica_follows_each_step_and_signs_with_the_same_key(site: Site) -> None:
    one, two = await site.replica("one", secret=SECRET), await site.replica("two", secret=SECRET)
    first = one.signed_by()
    await one.prepare(others_run=True)
    await two.keeper.refresh()
    assert (one.trusted(), two.trusted(), two.signed_by()) == (2, 2, first)
    await two.step(AuthorityStep.ACTIVATED)
    await one.keeper.refresh()
    assert one.signed_by() == two.signed_by() == one.shown() == two.shown() != first
    await one.step(AuthorityStep.TAINTED)
    await one.step(AuthorityStep.REVOKED)
    await two.keeper.refresh()
    assert (one.trusted(), two.trusted()) == (1, 1)
    for replica in (one, two):
        with pytest.raises(CertificateRevoked, match="was revoked"):
            replica.keeper.check_issuer(first)
        replica.keeper.check_issuer(replica.signed_by())
    # The key of the first lay on the disk of the first replica, where the new one lies now.
    assert (one.keys(), two.keys()) == (1, 0)


@pytest.mark.parametrize("secret", ["", SECRET])
async def test_a_control_plane_that_dies_after_any_step_begins_where_it_was(site: Site, secret: str) -> None:
    domain, seen = (await site.replica("one", secret=secret)).authority.trust_domain, []
    for number in range(4):
        one = await site.replica("one", secret=secret)
        if number == 0:
            await one.prepare()
        else:
            await one.step(tuple(AuthorityStep)[number - 1])
        again = await site.replica("one", secret=secret)
        assert again.authority.trust_domain == domain
        assert (again.signed_by(), again.trusted()) == (one.signed_by(), one.trusted())
        assert again.signed_by() == again.shown()
        seen.append((again.trusted(), again.keys()))
    assert [trusted for trusted, _ in seen] == [2, 2, 2, 1]
    assert seen[-1] == (1, 1)


async def test_a_step_that_was_followed_half_is_followed_to_the_end_at_the_next_start(site: Site) -> None:
    """Killed between the database and the files."""
    one = await site.replica("one")
    await one.prepare()
    rows = await site.store.read(lambda tx: tx.authorities.all())
    assert sorted(row.state.value for row in rows) == ["active", "prepared"]
    unfollowed = StepAuthority(site.store, site.clock, Unmoved(), one.read)
    for step in AuthorityStep:
        await unfollowed(step)
    again = await site.replica("one")
    assert (again.trusted(), again.keys()) == (1, 1)
    assert again.signed_by() == again.shown() == next(row.id for row in rows if row.state is AuthorityState.PREPARED)


class Unmoved:
    async def refresh(self) -> None:
        """Dies first."""

    async def successor(self, *, others_run: bool) -> Authority:
        raise NotImplementedError

    def discard(self, row: Authority) -> None:
        raise NotImplementedError


async def test_a_key_that_the_other_replicas_could_not_get_at_is_not_made(site: Site) -> None:
    one = await site.replica("one")
    with pytest.raises(InUse, match="no secret to seal") as refused:
        await one.prepare(others_run=True)
    assert "--authority-secret-file" in refused.value.remedy
    assert (len(await site.store.read(lambda tx: tx.authorities.all())), one.keys()) == (1, 1)


async def test_a_replica_whose_secret_is_not_the_others_any_more_makes_no_key(site: Site) -> None:
    one = await site.replica("one", secret=SECRET)
    await SharedAuthority(one.folder, site.clock, Lifetimes()).seal(site.store, b"another" * 8)
    await one.keeper.refresh()
    with pytest.raises(InvalidArgument, match="does not open"):
        await one.prepare()
    assert len(await site.store.read(lambda tx: tx.authorities.all())) == 1


async def test_in_the_middle_of_a_rotation_both_keys_are_sealed_anew(site: Site) -> None:
    one = await site.replica("one", secret=SECRET)
    await one.prepare()
    other = "another" * 8
    await SharedAuthority(one.folder, site.clock, Lifetimes(), one.secret_file).seal(site.store, other.encode())
    two = await site.replica("two", secret=other)
    await two.step(AuthorityStep.ACTIVATED)
    assert two.signed_by() == two.shown() != one.signed_by()


async def test_steps_that_are_followed_at_once_are_followed_in_their_order(site: Site) -> None:
    one, two = await site.replica("one", secret=SECRET), await site.replica("two", secret=SECRET)
    await one.prepare()
    await asyncio.gather(
        two.keeper.refresh(), one.step(AuthorityStep.ACTIVATED), two.keeper.refresh(), two.keeper.refresh()
    )
    await two.keeper.refresh()
    assert one.signed_by() == two.signed_by() == two.shown()


async def test_a_replica_without_the_key_that_signs_now_says_so_and_signs_nothing_else(site: Site) -> None:
    one = await site.replica("one", secret=SECRET)
    await one.prepare()
    other = await site.replica("copy", secret=SECRET)
    (site.folder / "secret").write_text("another" * 8)
    await StepAuthority(site.store, site.clock, Unmoved(), one.read)(AuthorityStep.ACTIVATED)
    with pytest.raises(InvalidArgument, match="does not open"):
        await other.keeper.refresh()


async def test_where_nobody_else_can_have_the_key_its_loss_is_told_and_nothing_is_made_anew(site: Site) -> None:
    one = await site.replica("one", alone=True)
    (one.folder / "ca.key").unlink()
    with pytest.raises(StorageUnavailable, match="is missing") as refused:
        await site.replica("one", alone=True)
    assert "backup" in refused.value.remedy
    assert one.keys() == 0


async def test_a_database_that_lost_the_new_authority_goes_on_with_the_one_before(site: Site) -> None:
    one = await site.replica("one")
    rows = await site.store.read(lambda tx: tx.authorities.all())
    await one.prepare()
    await one.step(AuthorityStep.ACTIVATED)
    site.store = MemoryStore(site.clock)
    await site.store.write(lambda tx: tx.authorities.put(rows[0]))
    again = await site.replica("one")
    assert (again.signed_by(), again.shown(), again.trusted()) == (rows[0].id, rows[0].id, 1)
    assert again.keys() == 2, "nobody can tell whether the newer one is wanted again"


async def test_a_disk_that_is_full_puts_a_step_off_and_does_not_end_the_control_plane(site: Site) -> None:
    one = await site.replica("one", secret=SECRET)
    await one.prepare()
    blocker = one.folder / "ca.pem"
    kept = blocker.read_bytes()
    blocker.unlink()
    blocker.mkdir()
    with pytest.raises(StorageUnavailable, match="cannot be written"):
        await one.step(AuthorityStep.ACTIVATED)
    blocker.rmdir()
    blocker.write_bytes(kept)
    await one.keeper.refresh()
    (active,) = [row.id for row in one.keeper.rows if row.state is AuthorityState.ACTIVE]
    assert one.signed_by() == one.shown() == active


async def test_listeners_hear_of_each_step_once(site: Site) -> None:
    one = await site.replica("one")
    heard: list[int] = []
    one.certificate.on_renewal(lambda: heard.append(one.trusted()))
    for _ in range(3):
        await one.prepare()
    await one.keeper.refresh()
    assert (heard, one.told) == ([2], 1)


async def test_two_replicas_that_prepare_at_once_have_the_same_in_the_end(site: Site) -> None:
    one, two = await site.replica("one", secret=SECRET), await site.replica("two", secret=SECRET)
    made = await two.keeper.successor(others_run=True)
    await one.prepare()
    await two.prepare()
    rows = await site.store.read(lambda tx: tx.authorities.all())
    assert len(rows) == 2
    assert made.id not in {row.id for row in rows}
