"""One authority for all control planes on a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography import x509

from control_plane.domain.authority import Authority, AuthorityState
from control_plane.domain.errors import InvalidArgument, StorageUnavailable
from control_plane.domain.ids import NodeId
from control_plane.store.memory import MemoryStore
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from control_plane.trust.shared_authority import SharedAuthority
from tests.fakes.clock import FakeClock
from tests.fakes.store_rows import a_node
from wire.credentials import csr_der, new_key
from wire.refusal import Refusal


@dataclass
class Site:
    """A database, and a state directory for each replica."""

    folder: Path
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)

    def secret(self, text: str = "s" * 32) -> str:
        file = self.folder / f"secret-{text[:8]}"
        file.write_text(text)
        file.chmod(0o600)
        return str(file)

    def directory(self, name: str) -> Path:
        directory = self.folder / name
        directory.mkdir(exist_ok=True)
        return directory

    async def open(self, name: str, secret_file: str = "") -> EmbeddedAuthority:
        return await SharedAuthority(self.directory(name), self.clock, Lifetimes(), secret_file).open(self.store)

    async def row(self) -> Authority:
        (found,) = await self.store.read(lambda tx: tx.authorities.all())
        return found

    async def put(self, row: Authority) -> None:
        await self.store.write(lambda tx: tx.authorities.put(row))

    def files(self, name: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory(name).iterdir()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def leaf(authority: EmbeddedAuthority) -> x509.Certificate:
    return x509.load_der_x509_certificate(authority.issue_node(csr_der(new_key()), NodeId("n1")).chain[0])


async def refused(site: Site, name: str, secret_file: str = "") -> Refusal:
    """What is said, after a look that nothing was changed."""
    before, files = await site.row(), site.files(name)
    with pytest.raises(Refusal) as said:
        await site.open(name, secret_file)
    assert (await site.row(), site.files(name)) == (before, files)
    assert said.value.remedy
    return said.value


async def test_each_accepts_what_the_other_signed_and_only_the_first_has_the_key_on_its_disk(site: Site) -> None:
    one = await site.open("one", site.secret())
    two = await site.open("two", site.secret())
    assert (two.trust_domain, two.pin) == (one.trust_domain, one.pin)
    assert one.vouches_for(leaf(two))
    assert two.vouches_for(leaf(one))
    assert site.files("two") == {"ca.pem": site.files("one")["ca.pem"]}


async def test_each_starts_again_as_it_was(site: Site) -> None:
    domains = {(await site.open(name, site.secret())).trust_domain for name in ("one", "two", "one", "two")}
    assert len(domains) == 1


async def test_one_without_a_secret_shows_its_certificate_and_keeps_its_key_to_itself(site: Site) -> None:
    one = await site.open("one")
    assert await site.row() == Authority(
        one.id, AuthorityState.ACTIVE, one.trust_bundle()[0], None, site.clock.now(), site.clock.now()
    )
    assert (await site.open("one")).trust_domain == one.trust_domain


async def test_a_secret_that_comes_later_seals_the_key_that_was_made_without(site: Site) -> None:
    one = await site.open("one")
    await site.open("one", site.secret())
    assert (await site.open("two", site.secret())).trust_domain == one.trust_domain


async def test_the_authority_of_a_database_that_had_none_is_the_one_on_the_disk(site: Site) -> None:
    before = EmbeddedAuthority.open(site.directory("one"), site.clock, Lifetimes())
    assert (await site.open("one")).trust_domain == before.trust_domain == (await site.open("one")).trust_domain


async def test_of_two_that_start_at_once_one_makes_the_authority_and_both_have_it(site: Site) -> None:
    one, two = await asyncio.gather(site.open("one", site.secret()), site.open("two", site.secret()))
    assert one.trust_domain == two.trust_domain
    assert one.vouches_for(leaf(two))
    assert sorted(["ca.key" in site.files("one"), "ca.key" in site.files("two")]) == [False, True]


async def test_of_two_that_start_at_once_without_a_secret_one_is_refused_and_keeps_nothing(site: Site) -> None:
    answers = await asyncio.gather(site.open("one"), site.open("two"), return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["EmbeddedAuthority", "InvalidArgument"]
    assert sorted(map(len, (site.files("one"), site.files("two")))) == [0, 2]


async def test_a_second_one_without_the_secret_is_told_to_bring_it(site: Site) -> None:
    await site.open("one", site.secret())
    said = await refused(site, "two")
    assert "--authority-secret-file" in said.remedy


async def test_a_second_one_is_told_to_seal_the_key_first(site: Site) -> None:
    await site.open("one")
    said = await refused(site, "two", site.secret())
    assert "Start that one once with --authority-secret-file" in said.remedy


@pytest.mark.parametrize("name", ["one", "two"])
async def test_a_wrong_secret_is_refused_also_where_the_key_lies(site: Site, name: str) -> None:
    await site.open("one", site.secret())
    assert "does not open" in (await refused(site, name, site.secret("another" * 8))).text


async def test_an_authority_that_is_not_the_databases_is_refused(site: Site) -> None:
    await site.open("one", site.secret())
    for name, kept in (("two", ("ca.key", "ca.pem")), ("three", ("ca.pem",)), ("four", ("ca.key",))):
        EmbeddedAuthority.open(site.directory(name), site.clock, Lifetimes())
        for gone in {"ca.key", "ca.pem"} - set(kept):
            (site.directory(name) / gone).unlink()
        said = await refused(site, name, site.secret())
        assert "is not the one of the database" in said.text
        assert "--state-dir" in said.remedy


async def test_a_further_replica_does_not_take_the_place_of_a_first_one_that_was_not_upgraded_yet(site: Site) -> None:
    EmbeddedAuthority.open(site.directory("one"), site.clock, Lifetimes())
    await site.store.write(lambda tx: tx.nodes.put(a_node("n1")))
    with pytest.raises(InvalidArgument, match="knows no authority yet") as refused:
        await site.open("two", site.secret())
    assert "Start that one first" in refused.value.remedy
    assert not site.files("two")
    one = await site.open("one", site.secret())
    assert (await site.open("two", site.secret())).trust_domain == one.trust_domain


async def test_where_the_key_is_lost_for_good_a_new_authority_begins_without_a_secret(site: Site) -> None:
    await site.store.write(lambda tx: tx.nodes.put(a_node("n1")))
    lost = await site.open("one")
    assert (await site.open("one", site.secret())).trust_domain == lost.trust_domain


async def test_a_certificate_without_its_key_begins_no_new_authority(site: Site) -> None:
    EmbeddedAuthority.open(site.directory("one"), site.clock, Lifetimes())
    (site.directory("one") / "ca.key").unlink()
    with pytest.raises(InvalidArgument, match="whose key is not here"):
        await site.open("one")
    assert site.files("one").keys() == {"ca.pem"}


DAMAGES: list[Callable[[Authority], Authority]] = [
    lambda row: replace(row, certificate=b"damaged"),
    lambda row: replace(row, sealed_key=b"\x01damaged"),
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_damaged_in_the_database_is_named(site: Site, damage: Callable[[Authority], Authority]) -> None:
    await site.open("one", site.secret())
    await site.put(damage(await site.row()))
    said = await refused(site, "two", site.secret())
    assert isinstance(said, StorageUnavailable)
    assert "damaged" in said.text


async def test_a_damaged_key_on_the_disk_is_named(site: Site) -> None:
    await site.open("one")
    (site.directory("one") / "ca.key").write_text("damaged")
    assert "ca.key cannot be understood" in (await refused(site, "one")).text


async def test_a_certificate_that_was_lost_from_the_disk_comes_back_from_the_database(site: Site) -> None:
    one = await site.open("one")
    before = site.files("one")
    (site.directory("one") / "ca.pem").unlink()
    assert (await site.open("one")).trust_domain == one.trust_domain
    assert site.files("one") == before


@pytest.mark.parametrize("name", ["one", "two"])
async def test_another_secret_takes_the_place_of_the_old_one(site: Site, name: str) -> None:
    one = await site.open("one", site.secret())
    await site.open("two", site.secret())
    text = "another" * 8
    new = site.secret(text)
    known = site.secret() if name == "two" else "/lost"
    shared = SharedAuthority(site.directory(name), site.clock, Lifetimes(), known)
    await shared.seal(site.store, text.encode())
    assert (await site.open("three", new)).trust_domain == one.trust_domain
    assert "does not open" in (await refused(site, "four", site.secret())).text
