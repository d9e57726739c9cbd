"""The gRPC listeners: one for nodes and operators, one for who has no certificate yet, one on the local machine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import grpc
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from arw.v1 import (
    agent_service_pb2_grpc,
    authority_service_pb2_grpc,
    claim_service_pb2_grpc,
    enrollment_service_pb2_grpc,
    inference_service_pb2_grpc,
    job_service_pb2_grpc,
    model_service_pb2_grpc,
    node_service_pb2_grpc,
    project_service_pb2_grpc,
    runtime_service_pb2_grpc,
    state_service_pb2_grpc,
)
from control_plane.api.agent_service import AgentServicer
from control_plane.api.authority_service import AuthorityServicer
from control_plane.api.authorization import AuthorizationInterceptor, Gatekeeper
from control_plane.api.claim_service import ClaimServicer
from control_plane.api.enrollment_service import EnrollmentServicer
from control_plane.api.first_message import FirstMessageInterceptor
from control_plane.api.health import Health
from control_plane.api.inference_service import InferenceServicer
from control_plane.api.job_service import JobServicer
from control_plane.api.large_requests import LargeRequests
from control_plane.api.model_service import ModelServicer
from control_plane.api.node_service import NodeServicer
from control_plane.api.open_streams import OpenStreams
from control_plane.api.project_service import ProjectServicer
from control_plane.api.runtime_service import RuntimeServicer
from control_plane.api.state_service import StateServicer
from control_plane.api.trust_hint import TrustHint
from wire.call_log import CallLogInterceptor
from wire.error_status import ErrorInterceptor
from wire.server import ShortVisits, make_server

SERVICES = (
    "arw.v1.AgentService",
    "arw.v1.AuthorityService",
    "arw.v1.ClaimService",
    "arw.v1.EnrollmentService",
    "arw.v1.InferenceService",
    "arw.v1.JobService",
    "arw.v1.ModelService",
    "arw.v1.NodeService",
    "arw.v1.ProjectService",
    "arw.v1.RuntimeService",
    "arw.v1.StateService",
)


@dataclass(frozen=True, slots=True)
class Servicers:
    agent: AgentServicer
    authority: AuthorityServicer
    claim: ClaimServicer
    enrollment: EnrollmentServicer
    inference: InferenceServicer
    job: JobServicer
    model: ModelServicer
    node: NodeServicer
    project: ProjectServicer
    runtime: RuntimeServicer
    state: StateServicer


def main_server(
    servicers: Servicers, gatekeeper: Gatekeeper, streams: OpenStreams, health_servicer: Health, hint: TrustHint
) -> grpc.aio.Server:
    """Everything that needs a certificate. No limit on calls: each agent holds one open."""
    server = make_server([*_outer(), AuthorizationInterceptor(gatekeeper), hint, LargeRequests(), streams])
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(servicers.agent, server)
    authority_service_pb2_grpc.add_AuthorityServiceServicer_to_server(servicers.authority, server)
    claim_service_pb2_grpc.add_ClaimServiceServicer_to_server(servicers.claim, server)
    inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(servicers.inference, server)
    job_service_pb2_grpc.add_JobServiceServicer_to_server(servicers.job, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicers.model, server)
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(servicers.node, server)
    project_service_pb2_grpc.add_ProjectServiceServicer_to_server(servicers.project, server)
    runtime_service_pb2_grpc.add_RuntimeServiceServicer_to_server(servicers.runtime, server)
    state_service_pb2_grpc.add_StateServiceServicer_to_server(servicers.state, server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    return server


def enrollment_server(servicers: Servicers, gatekeeper: Gatekeeper, request_within: timedelta) -> grpc.aio.Server:
    """For strangers, so nothing lasts here. How many there are is the door's to limit."""
    interceptors = [*_outer(), FirstMessageInterceptor(request_within), AuthorizationInterceptor(gatekeeper)]
    server = make_server(interceptors, ShortVisits())
    enrollment_service_pb2_grpc.add_EnrollmentServiceServicer_to_server(servicers.enrollment, server)
    return server


def admin_server(health_servicer: Health) -> grpc.aio.Server:
    """Reflection, channelz and health, for the owner of the local socket only."""
    server = make_server(_outer())
    reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    channelz.add_channelz_servicer(server)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    return server


def _outer() -> list[grpc.aio.ServerInterceptor]:
    return [CallLogInterceptor(), ErrorInterceptor()]
