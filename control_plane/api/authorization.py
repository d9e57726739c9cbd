"""Who may call what. A method that is not listed is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any

import grpc
from cryptography import x509

from control_plane.domain.admission import Presented
from control_plane.domain.errors import CertificateUnknown, PermissionDenied, Unauthenticated
from control_plane.domain.ids import NodeId, OperatorId
from control_plane.use_cases.authenticate_node import AuthenticateNode
from control_plane.use_cases.authenticate_operator import AuthenticateOperator
from wire.credentials import Identity, Role, identity_of, issuer_id, peer_certificate, serial_hex
from wire.handlers import Continuation, ManyAnswers, OneAnswer, wrapped


class Access(Enum):
    OPEN = auto()
    """On the enrolment port, where nobody has a certificate yet."""
    ANY_CERTIFICATE = auto()
    """A certificate of this control plane, whoever holds it."""
    NODE = auto()
    NODE_SESSION = auto()
    """A node whose admission the call itself decides, in the transaction that opens its session."""
    OPERATOR = auto()


def _methods(service: str, access: Access, *names: str) -> dict[str, Access]:
    return {f"/{service}/{name}": access for name in names}


METHODS: Mapping[str, Access] = {
    **_methods("arw.v1.EnrollmentService", Access.OPEN, "Enroll", "DiagnoseCredential"),
    **_methods("arw.v1.AgentService", Access.NODE_SESSION, "Connect"),
    **_methods("arw.v1.AgentService", Access.NODE, "PushLogs", "RenewCertificate"),
    **_methods("arw.v1.RuntimeService", Access.OPERATOR, "ApplyManifest", "GetRuntime", "ListRuntimes"),
    **_methods("arw.v1.RuntimeService", Access.OPERATOR, "WatchRuntimes", "RestoreRuntime", "ShutdownRuntime"),
    **_methods("arw.v1.RuntimeService", Access.OPERATOR, "DeleteRuntime", "ExplainRuntime", "StreamLogs"),
    **_methods("arw.v1.RuntimeService", Access.OPERATOR, "HibernateRuntime", "WakeRuntime"),
    **_methods("arw.v1.RuntimeService", Access.OPERATOR, "PlanManifest", "ExportManifest", "ScaleRuntime"),
    **_methods("arw.v1.RuntimeService", Access.OPERATOR, "SetRuntimeProfile", "ListRuntimeProfiles"),
    **_methods("arw.v1.NodeService", Access.OPERATOR, "GetNode", "ListNodes", "UpdateNode", "ApproveNode"),
    **_methods("arw.v1.NodeService", Access.OPERATOR, "RevokeNode", "CreateJoinToken", "ListJoinTokens"),
    **_methods("arw.v1.NodeService", Access.OPERATOR, "DeleteJoinToken", "AllowRemovals"),
    **_methods("arw.v1.NodeService", Access.OPERATOR, "DrainNode", "ResumeNode", "ResumePlacement"),
    **_methods("arw.v1.ModelService", Access.OPERATOR, "CreateModel", "GetModel", "ListModels", "DeleteModel"),
    **_methods("arw.v1.ProjectService", Access.OPERATOR, "CreateProject", "GetProject", "ListProjects"),
    **_methods("arw.v1.ProjectService", Access.OPERATOR, "UpdateProject", "DeleteProject", "CreateProjectKey"),
    **_methods("arw.v1.ProjectService", Access.OPERATOR, "ListProjectKeys", "RevokeProjectKey"),
    **_methods("arw.v1.ProjectService", Access.OPERATOR, "SetProjectPin", "DeleteProjectPin"),
    **_methods("arw.v1.ClaimService", Access.OPERATOR, "AcquireClaim", "RenewClaim", "ReleaseClaim", "RevokeClaim"),
    **_methods("arw.v1.ClaimService", Access.OPERATOR, "GetClaim", "ListClaims", "WatchClaims"),
    **_methods("arw.v1.InferenceService", Access.OPERATOR, "Infer"),
    **_methods("arw.v1.JobService", Access.OPERATOR, "CreateJob", "GetJob", "ListJobs", "WatchJob", "CancelJob"),
    **_methods("arw.v1.StateService", Access.OPERATOR, "GetRuntimeMatrix", "GetSupervisor"),
    **_methods("arw.v1.StateService", Access.OPERATOR, "GetRuntimeGrid", "GetWatchers", "ListReplicas"),
    **_methods("arw.v1.StateService", Access.OPERATOR, "ListEvents", "WatchEvents"),
    **_methods("arw.v1.AuthorityService", Access.OPERATOR, "ListAuthorities", "PrepareAuthority", "ActivateAuthority"),
    **_methods("arw.v1.AuthorityService", Access.OPERATOR, "TaintAuthority", "RevokeAuthority"),
    **_methods("arw.v1.AuthorityService", Access.OPERATOR, "RenewOperatorCertificate"),
    **_methods("grpc.health.v1.Health", Access.ANY_CERTIFICATE, "Check", "List", "Watch"),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who holds the certificate of this call."""

    role: Role
    presented: Presented
    """For an operator, `node` is its id."""

    @property
    def name(self) -> str:
        return f"{self.role}/{self.presented.node}"


caller: ContextVar[Caller] = ContextVar("caller")


def _any_issuer(_: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class Gatekeeper:
    trust_domain: str
    authenticate_node: AuthenticateNode
    authenticate_operator: AuthenticateOperator
    check_issuer: Callable[[str], None] = _any_issuer
    """CertificateRevoked when the authority of this id counts no more: connections outlive it."""

    async def admit(self, access: Access, certificate: x509.Certificate | None) -> None:
        """Put the caller into the context. Unauthenticated, PermissionDenied, Certificate*, NodeQuarantined."""
        if access is Access.OPEN:
            return
        who = self._identified(certificate)
        _check_role(access, who.role)
        if access is not Access.NODE_SESSION:
            await self.check_standing(who)
        caller.set(who)

    async def check_standing(self, who: Caller) -> None:
        """Whether the certificate counts now. Certificate*, NodeQuarantined, StorageUnavailable."""
        shown = who.presented
        self.check_issuer(shown.issuer)
        if who.role is Role.OPERATOR:
            await self.authenticate_operator.by_certificate(OperatorId(shown.node), shown.serial, shown.expire_time)
        else:
            await self.authenticate_node(shown)

    def _identified(self, certificate: x509.Certificate | None) -> Caller:
        if certificate is None:
            raise Unauthenticated("This port needs a client certificate.", "Use the certificate of your context file.")
        identity = _identity(certificate)
        if identity is None or identity.trust_domain != self.trust_domain:
            raise CertificateUnknown("The certificate is not one of this control plane.", "Join or log in again.")
        # Of thousands of connections nearly all name the same one.
        issuer = sys.intern(issuer_id(certificate))
        self.check_issuer(issuer)
        presented = Presented(NodeId(identity.name), serial_hex(certificate), certificate.not_valid_after_utc, issuer)
        return Caller(identity.role, presented)


class AuthorizationInterceptor(grpc.aio.ServerInterceptor):
    """Stands inside the error interceptor, which turns its refusals into statuses."""

    def __init__(self, gatekeeper: Gatekeeper, methods: Mapping[str, Access] = METHODS) -> None:
        self._gatekeeper = gatekeeper
        self._methods = methods

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        access = self._methods.get(handler_call_details.method)
        return wrapped(handler, partial(self._one, access), partial(self._many, access))

    def _one(self, access: Access | None, behaviour: OneAnswer) -> OneAnswer:
        async def answer(request: Any, context: Any) -> Any:
            await self._check(access, context)
            return await behaviour(request, context)

        return answer

    def _many(self, access: Access | None, behaviour: ManyAnswers) -> ManyAnswers:
        async def stream(request: Any, context: Any) -> Any:
            await self._check(access, context)
            async for message in behaviour(request, context):
                yield message

        return stream

    async def _check(self, access: Access | None, context: Any) -> None:
        if access is None:
            raise PermissionDenied("Nobody may call this method.", "Update the control plane.")
        await self._gatekeeper.admit(access, peer_certificate(context))


def _identity(certificate: x509.Certificate) -> Identity | None:
    try:
        return identity_of(certificate)
    except ValueError:
        return None


def _check_role(access: Access, role: Role) -> None:
    wanted = {Access.OPERATOR: Role.OPERATOR, Access.NODE: Role.NODE, Access.NODE_SESSION: Role.NODE}.get(access)
    if role is Role.CONTROL_PLANE or (wanted is not None and role is not wanted):
        raise PermissionDenied(
            f"This call is for {wanted or 'nodes and operators'}.", "Use a certificate of that kind.", role=str(role)
        )
