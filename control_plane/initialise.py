"""First start, and every later one: make what is missing, keep what is good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from cryptography import x509

from control_plane.domain.errors import InUse
from control_plane.domain.ids import OperatorId
from control_plane.domain.operator import Operator
from control_plane.domain.replica import Place
from control_plane.ground import Ground, ground
from control_plane.process.run_file import locked
from control_plane.reached import address, http_url
from control_plane.settings import Paths, Settings, is_loopback
from control_plane.timers import Timers
from control_plane.trust.authority import EmbeddedAuthority
from control_plane.trust.context_file import OperatorContext
from control_plane.use_cases.authenticate_operator import AuthenticateOperator
from control_plane.use_cases.grant_operator import GrantOperator
from control_plane.use_cases.ports import Clock, Transaction
from control_plane.use_cases.randomness import SystemRandomness
from control_plane.use_cases.renew_operator import RenewOperator
from wire.atomic_file import write_atomically
from wire.credentials import certificate_pem, csr_der, identity_of, issuer_id, key_pem, new_key, serial_hex
from wire.refusal import Refusal

_log = structlog.get_logger()

LOCAL = OperatorId("local")


async def initialise(settings: Settings, timers: Timers, paths: Paths, clock: Clock, context_file: Path) -> None:
    """Make CA, database, server certificate and the operator's context file, each only when it is not good.

    InUse when a control plane runs here and the context file would have to be made anew.
    """
    try:
        with locked(paths.lock, paths.run):
            async with ground(settings, timers, paths, clock) as on:
                await provide_context(on, context_file)
    except InUse:
        if not _looks_good(OperatorContext.load(context_file), settings, paths, clock):
            raise


async def provide_context(on: Ground, file: Path) -> None:
    """Make the operator's context file, unless it is good."""
    await follow_authorities(on, file)
    context = OperatorContext.load(file)
    if await _is_good(on, context):
        return
    fresh = await _granted(on, await _operator(on))
    (fresh.with_addresses(context.grpc_addresses, context.http_urls) if context else fresh).save(file)


async def follow_authorities(on: Ground, file: Path) -> None:
    """Write into the operator's context file whom to trust, and a certificate of the authority that signs now.

    Nothing where there is no such file, or it is of another control plane.
    """
    context = OperatorContext.load(file)
    if context is None or context.trust_domain != on.authority.trust_domain:
        return
    told = replace(context, ca_pem=_ca_pem(on.authority))
    try:
        leaf = x509.load_pem_x509_certificates(context.certificate_pem.encode())[0]
        if issuer_id(leaf) != on.authority.id:
            told = await _renewed(on, told, leaf)
    except (Refusal, ValueError, IndexError) as error:
        _log.warning("context_not_renewed", path=str(file), cause=str(error))
    if told != context:
        told.save(file)


async def _renewed(on: Ground, context: OperatorContext, leaf: x509.Certificate) -> OperatorContext:
    key, operator = new_key(), OperatorId(identity_of(leaf).name)
    renew = RenewOperator(on.store, on.clock, on.authority)
    issued = await renew(operator, serial_hex(leaf), leaf.not_valid_after_utc, csr_der(key))
    return replace(context, certificate_pem=certificate_pem(issued.chain).decode(), key_pem=key_pem(key).decode())


def name_replicas(file: Path, machine_id_hash: str, living: Sequence[Place]) -> None:
    """Write into the operator's context file of this machine where replicas are; nothing where there is no such file.

    Those that are not among the living may come back, and stay at its end.
    """
    context = OperatorContext.load(file)
    if context is None:
        return
    near = [(place, place.machine_id_hash == machine_id_hash) for place in living]
    grpc = [place.grpc_address for place, is_here in near if _leads_there(place.grpc_address, is_here=is_here)]
    http = [place.http_url for place, is_here in near if _leads_there(urlsplit(place.http_url).netloc, is_here=is_here)]
    told = context.with_addresses((*grpc, *context.grpc_addresses), (*http, *context.http_urls))
    if told != context:
        told.save(file)


def _leads_there(address: str, *, is_here: bool) -> bool:
    """Loopback is that of another replica on its own machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    return bool(host) and (is_here or not is_loopback(host))


async def _is_good(on: Ground, context: OperatorContext | None) -> bool:
    if not _looks_good(context, on.settings, on.paths, on.clock) or context is None:
        return False
    authenticate = AuthenticateOperator(on.store, on.clock)
    try:
        row = await authenticate.by_token(context.token)
    except Refusal:
        return False
    return row.certificate_serial == context.serial(on.clock.now())


def _looks_good(context: OperatorContext | None, settings: Settings, paths: Paths, clock: Clock) -> bool:
    """As far as can be told without the database."""
    if context is None or not context.serial(clock.now()):
        return False
    ca = paths.directory / "ca.pem"
    same_ca = ca.exists() and context.ca_pem == ca.read_text("ascii")
    addresses = (context.grpc_address, context.http_url, context.state_dir)
    return same_ca and addresses == (*_addresses(settings), str(paths.state))


async def _operator(on: Ground) -> OperatorId:
    """Whom this state directory makes credentials for: new ones would end those of another replica's."""
    kept = on.paths.operator
    if kept.exists():
        return OperatorId(kept.read_text("utf-8").strip())
    if (on.paths.directory / "ca.key").exists():
        return LOCAL
    now = on.clock.now()
    mine = await on.store.write(lambda tx: _reserved(tx, now))
    write_atomically(kept, mine.encode())
    return mine


def _reserved(tx: Transaction, now: datetime) -> OperatorId:
    """The next free id after LOCAL, with no credentials yet."""
    taken = {row.id for row in tx.operators.all()}
    free = next(name for name in (OperatorId(f"{LOCAL}-{number}") for number in count(2)) if name not in taken)
    tx.operators.put(Operator(free, free, "", now))
    return free


async def _granted(on: Ground, operator: OperatorId) -> OperatorContext:
    key = new_key()
    issued = on.authority.issue_operator(csr_der(key), operator)
    grant = await GrantOperator(on.store, on.clock, SystemRandomness())(
        operator, certificate_serial=issued.serial, issuer=issued.issuer
    )
    grpc_address, http_url = _addresses(on.settings)
    return OperatorContext(
        trust_domain=on.authority.trust_domain,
        grpc_address=grpc_address,
        http_url=http_url,
        ca_pem=_ca_pem(on.authority),
        certificate_pem=certificate_pem(issued.chain).decode(),
        key_pem=key_pem(key).decode(),
        token=grant.token,
        state_dir=str(on.paths.state),
    )


def _ca_pem(authority: EmbeddedAuthority) -> str:
    return certificate_pem(authority.trust_bundle()).decode()


def _addresses(settings: Settings) -> tuple[str, str]:
    """As others dial them: `name_replicas` writes the same of this replica when there are several."""
    return address(settings.dialled, settings.grpc_port), http_url(settings, settings.http_port)
