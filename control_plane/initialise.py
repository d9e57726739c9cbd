"""First start, and every later one: make what is missing, keep what is good."""

from __future__ import annotations

from pathlib import Path

from control_plane.domain.errors import InUse
from control_plane.domain.ids import OperatorId
from control_plane.ground import Ground, ground
from control_plane.process.run_file import locked
from control_plane.settings import Paths, Settings, Timers
from control_plane.trust.authority import EmbeddedAuthority
from control_plane.trust.context_file import OperatorContext
from control_plane.use_cases.authenticate_operator import AuthenticateOperator
from control_plane.use_cases.grant_operator import GrantOperator
from control_plane.use_cases.ports import Clock
from control_plane.use_cases.randomness import SystemRandomness
from wire.credentials import certificate_pem, csr_der, key_pem, new_key
from wire.refusal import Refusal

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
    if not await _is_good(on, OperatorContext.load(file)):
        (await _granted(on)).save(file)


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
    same_ca = context.ca_pem == (paths.directory / "ca.pem").read_text("ascii")
    addresses = (context.grpc_address, context.http_url, context.state_dir)
    return same_ca and addresses == (*_addresses(settings), str(paths.state))


async def _granted(on: Ground) -> OperatorContext:
    key = new_key()
    issued = on.authority.issue_operator(csr_der(key), LOCAL)
    grant = await GrantOperator(on.store, on.clock, SystemRandomness())(LOCAL, certificate_serial=issued.serial)
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
    scheme = "https" if settings.http_certificate else "http"
    http_host = "127.0.0.1" if settings.http_host in ("0.0.0.0", "::") else settings.http_host  # noqa: S104 - compared
    return f"{settings.dialled}:{settings.grpc_port}", f"{scheme}://{http_host}:{settings.http_port}"
