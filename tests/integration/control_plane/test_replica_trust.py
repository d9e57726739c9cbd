"""Two state directories on one real PostgreSQL: one trust domain, and an operator for each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import NodeId, OperatorId
from control_plane.domain.replica import Place
from control_plane.ground import Ground, ground
from control_plane.initialise import initialise, name_replicas, provide_context
from control_plane.main import main
from control_plane.process.clock import SystemClock
from control_plane.settings import Paths, Settings
from control_plane.timers import Timers
from control_plane.trust.authority import Lifetimes
from control_plane.trust.context_file import OperatorContext
from control_plane.trust.shared_authority import SharedAuthority
from control_plane.use_cases.authenticate_operator import AuthenticateOperator
from tests.fakes.postgres_stores import opened
from wire.credentials import csr_der, new_key, server_context


@dataclass(frozen=True, slots=True)
class Site:
    state: Path
    url: str

    @property
    def secret(self) -> str:
        file = self.state / "secret"
        file.write_text("s" * 40)
        file.chmod(0o600)
        return str(file)

    def paths(self, name: str) -> Paths:
        paths = Paths(self.state / name)
        paths.make()
        return paths

    def context(self, name: str) -> Path:
        return self.state / name / "context.json"

    def settings(self, **changed: Any) -> Settings:
        return Settings(**{"database": self.url, "authority_secret_file": self.secret, **changed})

    @asynccontextmanager
    async def replica(self, name: str, **changed: Any) -> AsyncIterator[Ground]:
        """One at a time."""
        settings = self.settings(**changed)
        async with ground(settings, Timers.second_long(), self.paths(name), SystemClock()) as on:
            await provide_context(on, self.context(name))
            yield on

    def operator(self, name: str) -> str:
        return str(json.loads(self.context(name).read_bytes())["token"]).partition(".")[0]


@pytest.fixture
def site(state: Path, postgres_url: str) -> Site:
    return Site(state, postgres_url)


def leaf(on: Ground) -> x509.Certificate:
    return x509.load_der_x509_certificate(on.authority.issue_node(csr_der(new_key()), NodeId("n1")).chain[0])


async def test_a_certificate_that_one_replica_issued_is_accepted_by_the_other(site: Site) -> None:
    async with site.replica("one") as one:
        signed = leaf(one)
    async with site.replica("two", advertise="two.example") as two:
        assert two.authority.vouches_for(signed)
        assert one.authority.vouches_for(leaf(two))
        assert two.authority.trust_domain == one.authority.trust_domain
    assert not (site.paths("two").directory / "ca.key").exists()


async def test_each_shows_a_server_certificate_for_its_own_hosts_from_the_one_authority(site: Site) -> None:
    async with site.replica("one", advertise="one.example") as one:
        shown = [one.certificate]
    async with site.replica("two", advertise="two.example") as two:
        shown.append(two.certificate)
    leaves = [x509.load_pem_x509_certificates(each.chain_path.read_bytes())[0] for each in shown]
    assert all(one.authority.vouches_for(each) for each in leaves)
    names = [
        each.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        for each in leaves
    ]
    assert [("one.example" in each, "two.example" in each) for each in names] == [(True, False), (False, True)]
    for each in shown:
        server_context(each.chain_path, each.key_path, each.ca_path, require_client=True)


async def test_of_two_first_replicas_at_once_one_makes_the_authority_and_both_have_it(site: Site) -> None:
    async with opened(site.url) as first, opened(site.url) as second:
        one, two = await asyncio.gather(
            *(
                SharedAuthority(site.paths(name).directory, SystemClock(), Lifetimes(), site.secret).open(store)
                for name, store in (("one", first), ("two", second))
            )
        )
    assert one.trust_domain == two.trust_domain
    assert sum((site.paths(name).directory / "ca.key").exists() for name in ("one", "two")) == 1


async def test_without_the_secret_a_further_replica_does_not_start_and_leaves_nothing(site: Site) -> None:
    async with site.replica("one"):
        pass
    with pytest.raises(InvalidArgument) as refused:
        async with site.replica("two", authority_secret_file=""):
            pass
    assert "--authority-secret-file" in refused.value.remedy
    assert not list(site.paths("two").directory.iterdir())


async def test_each_replica_has_an_operator_of_its_own_and_takes_away_nobody_elses(site: Site) -> None:
    for name in ("one", "two", "three"):
        async with site.replica(name):
            pass
    async with site.replica("one") as on:
        authenticate = AuthenticateOperator(on.store, on.clock)
        for name, operator in (("one", "local"), ("two", "local-2"), ("three", "local-3")):
            context = OperatorContext.load(site.context(name))
            assert context
            assert (await authenticate.by_token(context.token)).id == OperatorId(operator)
            assert context.trust_domain == on.authority.trust_domain


async def test_a_replica_that_lost_its_context_file_makes_it_anew_for_the_same_operator(site: Site) -> None:
    for name in ("one", "two"):
        async with site.replica(name):
            pass
        old = OperatorContext.load(site.context(name))
        site.context(name).unlink()
        async with site.replica(name) as on:
            new = OperatorContext.load(site.context(name))
            assert old
            assert new
            assert new.token != old.token
            assert len(await on.store.read(lambda tx: tx.operators.all())) == (1 if name == "one" else 2)
    assert (site.operator("one"), site.operator("two")) == ("local", "local-2")


async def test_a_good_context_of_a_further_replica_is_kept_and_so_is_what_it_knows_of_others(site: Site) -> None:
    async with site.replica("one"):
        pass
    async with site.replica("two"):
        pass
    own = OperatorContext.load(site.context("two"))
    assert own
    here = Place(own.grpc_address, "", "", own.http_url, "m")
    near = Place("127.0.0.1:17443", "", "", "http://127.0.0.1:18091", "m")
    far = Place("far.example:7443", "", "", "http://127.0.0.1:8091", "other")
    name_replicas(site.context("two"), "m", [here, near, far, Place()])
    name_replicas(site.context("two"), "m", [here])
    named = site.context("two").read_bytes()
    found = json.loads(named)
    assert found["grpc_addresses"] == ["127.0.0.1:17443", "far.example:7443"]
    assert found["http_urls"] == ["http://127.0.0.1:18091"]
    await initialise(site.settings(), Timers.second_long(), site.paths("two"), SystemClock(), site.context("two"))
    assert site.context("two").read_bytes() == named
    site.context("two").write_bytes(named.replace(found["token"].encode(), b"local-2.wrong"))
    async with site.replica("two"):
        assert json.loads(site.context("two").read_bytes())["grpc_addresses"] == found["grpc_addresses"]


def test_where_there_is_no_context_file_none_is_made_of_addresses(tmp_path: Path) -> None:
    name_replicas(tmp_path / "context.json", "m", [Place("far.example:7443")])
    assert not list(tmp_path.iterdir())


def test_a_command_with_a_secret_that_is_no_good_ends_with_what_to_do(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    weak = site.state / "weak"
    weak.write_text("weak")
    weak.chmod(0o600)
    said = ["init", "--state-dir", str(site.state / "one"), "--database", site.url, "--authority-secret-file"]
    assert main([*said, str(weak)]) == 2
    assert "openssl rand" in capsys.readouterr().err
    assert not (site.paths("one").directory / "ca.key").exists()
    assert main([*said, site.secret]) == 0
    assert Settings.load(site.paths("one").settings).authority_secret_file == site.secret
    assert main([*said, ""]) == 0
    assert not Settings.load(site.paths("one").settings).authority_secret_file
