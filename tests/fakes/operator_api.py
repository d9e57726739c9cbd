"""A control plane's operator API in memory, behind real mutual TLS, for tests of clients."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from arw.v1 import (
    claim_service_pb2_grpc,
    event_pb2,
    job_pb2,
    job_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    node_pb2,
    node_service_pb2,
    node_service_pb2_grpc,
    project_service_pb2_grpc,
    runtime_pb2,
    runtime_service_pb2,
    runtime_service_pb2_grpc,
    state_service_pb2,
    state_service_pb2_grpc,
)
from tests.fakes.operator_claims import ClaimBook, Claims, ProjectKeys
from tests.fakes.operator_jobs import Jobs
from wire.credentials import CONTROL_PLANE_NAME, key_pem, new_key
from wire.error_status import ErrorInterceptor
from wire.refusal import Refusal
from wire.server import make_server

DAY = dt.timedelta(days=1)


class RefusedManifest(Refusal):
    reason = "MANIFEST_INVALID"


class Missing(Refusal):
    reason = "NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Pki:
    """A CA with one server and one operator certificate."""

    ca: bytes
    server: bytes
    server_key: bytes
    operator: bytes
    operator_key: bytes


def pki(operator_life: dt.timedelta = DAY) -> Pki:
    ca_key, server_key, operator_key = new_key(), new_key(), new_key()
    ca = _certificate("ca", ca_key, None, ca_key, x509.BasicConstraints(ca=True, path_length=0))
    server = _certificate(
        "server", server_key, ca, ca_key, x509.SubjectAlternativeName([x509.DNSName(CONTROL_PLANE_NAME)])
    )
    uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("arw://test/operators/local")])
    operator = _certificate("operator", operator_key, ca, ca_key, uri, life=operator_life)
    pems = [each.public_bytes(Encoding.PEM) for each in (ca, server, operator)]
    return Pki(pems[0], pems[1], key_pem(server_key), pems[2], key_pem(operator_key))


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
    *,
    life: dt.timedelta = DAY,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    end = dt.datetime.now(dt.UTC) + life
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(end - 2 * DAY).not_valid_after(end)
    return builder.add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256())


async def too_old(context: Any) -> NoReturn:
    """As a control plane answers that does not know the call yet."""
    await context.abort(grpc.StatusCode.UNIMPLEMENTED)
    raise AssertionError("abort returned")


class OperatorApi:
    """What the services answer, and what they were asked."""

    def __init__(self) -> None:
        self.nodes: list[node_pb2.Node] = []
        self.runtimes: list[runtime_pb2.Runtime] = []
        self.watched: list[runtime_service_pb2.WatchRuntimesResponse] = []
        self.events: list[event_pb2.Event] = []
        self.supervisor = state_service_pb2.GetSupervisorResponse()
        self.matrix = state_service_pb2.GetRuntimeMatrixResponse()
        self.grid = state_service_pb2.GetRuntimeGridResponse()
        self.watchers = state_service_pb2.GetWatchersResponse()
        self.explanation = runtime_service_pb2.ExplainRuntimeResponse()
        self.plan = runtime_service_pb2.PlanManifestResponse()
        self.exported = b"version = 1\n"
        self.profiles = runtime_service_pb2.ListRuntimeProfilesResponse()
        self.jobs: list[job_pb2.Job] = []
        self.claims = ClaimBook()
        self.log: list[bytes] = []
        self.outcome = runtime_service_pb2.APPLY_OUTCOME_CREATED
        self.apply_refusal: Refusal | None = None
        self.delay_s = 0.0
        self.calls: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.time_left_s: list[float] = []

    async def note(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.calls.append(request)
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata() or ()})
        self.time_left_s.append(context.time_remaining() or float("inf"))
        await asyncio.sleep(self.delay_s)


class Nodes(node_service_pb2_grpc.NodeServiceServicer):
    def __init__(self, api: OperatorApi) -> None:
        self._api = api

    async def ListNodes(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """Pages of two, whatever is asked."""
        await self._api.note(request, context)
        start = int(request.page_token or 0)
        more = start + 2 < len(self._api.nodes)
        return node_service_pb2.ListNodesResponse(
            nodes=self._api.nodes[start : start + 2], next_page_token=str(start + 2) if more else ""
        )

    async def GetNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        for node in self._api.nodes:
            if node.name == request.name:
                return node_service_pb2.GetNodeResponse(node=node)
        raise Missing(f"There is no {request.name}.", "See `arwctl nodes list`.", name=request.name)

    async def UpdateNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return node_service_pb2.UpdateNodeResponse(node=request.node)

    async def CreateJoinToken(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return node_service_pb2.CreateJoinTokenResponse(secret_text="id.secret.pin", enrollment_address="host:7444")

    async def RevokeNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        await too_old(context)

    async def DrainNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return node_service_pb2.DrainNodeResponse(node=self._api.nodes[0])

    async def ResumeNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return node_service_pb2.ResumeNodeResponse(node=self._api.nodes[0])

    async def ResumePlacement(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return node_service_pb2.ResumePlacementResponse(nodes=self._api.nodes)

    async def AllowRemovals(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return node_service_pb2.AllowRemovalsResponse(node=self._api.nodes[0], allowed=request.removals)

    async def ApproveNode(self, request: Any, context: Any) -> Any:  # noqa: N802
        await too_old(context)

    async def ListJoinTokens(self, request: Any, context: Any) -> Any:  # noqa: N802
        await too_old(context)

    async def DeleteJoinToken(self, request: Any, context: Any) -> Any:  # noqa: N802
        await too_old(context)


class Runtimes(runtime_service_pb2_grpc.RuntimeServiceServicer):
    def __init__(self, api: OperatorApi) -> None:
        self._api = api

    async def ApplyManifest(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        if self._api.apply_refusal:
            raise self._api.apply_refusal
        applied = [
            runtime_service_pb2.AppliedRuntime(runtime=each, outcome=self._api.outcome) for each in self._api.runtimes
        ]
        return runtime_service_pb2.ApplyManifestResponse(runtimes=applied, revision=1)

    async def PlanManifest(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        if self._api.apply_refusal:
            raise self._api.apply_refusal
        return self._api.plan

    async def ExportManifest(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return runtime_service_pb2.ExportManifestResponse(content=self._api.exported)

    async def ListRuntimes(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return runtime_service_pb2.ListRuntimesResponse(runtimes=self._api.runtimes)

    async def WatchRuntimes(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        await self._api.note(request, context)
        for change in self._api.watched:
            yield change
        await asyncio.Event().wait()

    async def RestoreRuntime(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return runtime_service_pb2.RestoreRuntimeResponse(runtime=self._api.runtimes[0])

    async def ShutdownRuntime(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return runtime_service_pb2.ShutdownRuntimeResponse(runtime=self._api.runtimes[0])

    async def HibernateRuntime(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return runtime_service_pb2.HibernateRuntimeResponse(runtime=self._api.runtimes[0])

    async def WakeRuntime(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return runtime_service_pb2.WakeRuntimeResponse(runtime=self._api.runtimes[0])

    async def ScaleRuntime(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        self._api.runtimes[0].spec.replicas = request.replicas
        return runtime_service_pb2.ScaleRuntimeResponse(runtime=self._api.runtimes[0])

    async def SetRuntimeProfile(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        self._api.runtimes[0].spec.profile = request.profile
        return runtime_service_pb2.SetRuntimeProfileResponse(runtime=self._api.runtimes[0])

    async def ListRuntimeProfiles(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return self._api.profiles

    async def StreamLogs(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        await self._api.note(request, context)
        for data in self._api.log:
            yield runtime_service_pb2.StreamLogsResponse(incarnation=1, data=data)

    async def GetRuntime(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return runtime_service_pb2.GetRuntimeResponse(runtime=self._api.runtimes[0])

    async def DeleteRuntime(self, request: Any, context: Any) -> Any:  # noqa: N802
        await too_old(context)

    async def ExplainRuntime(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return self._api.explanation


class Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, api: OperatorApi) -> None:
        self._api = api

    async def CreateModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        request.model.id = request.model_id
        return model_service_pb2.CreateModelResponse(model=request.model)

    async def GetModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        await too_old(context)

    async def ListModels(self, request: Any, context: Any) -> Any:  # noqa: N802
        await too_old(context)

    async def DeleteModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        await too_old(context)


class State(state_service_pb2_grpc.StateServiceServicer):
    def __init__(self, api: OperatorApi) -> None:
        self._api = api

    async def GetRuntimeMatrix(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return self._api.matrix

    async def GetRuntimeGrid(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return self._api.grid

    async def ListReplicas(self, request: Any, context: Any) -> Any:  # noqa: N802
        await too_old(context)

    async def GetWatchers(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return self._api.watchers

    async def GetSupervisor(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return self._api.supervisor

    async def ListEvents(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._api.note(request, context)
        return state_service_pb2.ListEventsResponse(events=self._api.events)

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        await self._api.note(request, context)
        for event in self._api.events:
            yield state_service_pb2.WatchEventsResponse(event=event)


@asynccontextmanager
async def serving(api: OperatorApi, trust: Pki) -> AsyncIterator[str]:
    """host:port of the API over mutual TLS."""
    server = make_server([ErrorInterceptor()])
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(Nodes(api), server)
    runtime_service_pb2_grpc.add_RuntimeServiceServicer_to_server(Runtimes(api), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(api), server)
    job_service_pb2_grpc.add_JobServiceServicer_to_server(Jobs(api.note, api.jobs), server)
    claim_service_pb2_grpc.add_ClaimServiceServicer_to_server(Claims(api.note, api.claims), server)
    project_service_pb2_grpc.add_ProjectServiceServicer_to_server(ProjectKeys(api.note), server)
    state_service_pb2_grpc.add_StateServiceServicer_to_server(State(api), server)
    credentials = grpc.ssl_server_credentials(
        [(trust.server_key, trust.server)], root_certificates=trust.ca, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
