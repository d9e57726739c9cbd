"""The servicers, each with its use cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from control_plane.api.agent_service import AgentServicer, LogSink, Streams
from control_plane.api.authority_service import AuthorityServicer, AuthorityUseCases
from control_plane.api.claim_service import ClaimServicer, ClaimUseCases
from control_plane.api.enrollment_service import Desk, EnrollmentServicer
from control_plane.api.inference_service import Ask, InferenceServicer
from control_plane.api.job_service import JobServicer, JobUseCases
from control_plane.api.model_service import ModelServicer, ModelUseCases
from control_plane.api.node_service import JoinAddress, NodeServicer, NodeUseCases
from control_plane.api.page_tokens import PageTokens
from control_plane.api.project_service import ProjectServicer, ProjectUseCases
from control_plane.api.rate_limit import FailedTries, TryRules
from control_plane.api.runtime_service import RuntimeLog, RuntimeServicer, RuntimeUseCases
from control_plane.api.servers import Servicers
from control_plane.api.state_service import StateServicer, StateUseCases
from control_plane.domain.replica import Replica
from control_plane.trust.authority import EmbeddedAuthority
from control_plane.trust.following import TrustKeeper
from control_plane.use_cases.allow_removals import AllowRemovals, Guards
from control_plane.use_cases.apply_manifest import ApplyManifest
from control_plane.use_cases.approve_node import ApproveNode
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.create_join_token import CreateJoinToken
from control_plane.use_cases.create_model import CreateModel
from control_plane.use_cases.create_project import CreateProject
from control_plane.use_cases.delete_join_token import DeleteJoinToken
from control_plane.use_cases.delete_model import DeleteModel
from control_plane.use_cases.delete_project import DeleteProject
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.diagnose_credential import DiagnoseCredential
from control_plane.use_cases.drain_node import DrainNode, ResumeNode
from control_plane.use_cases.enroll_node import EnrollNode
from control_plane.use_cases.explain_runtime import ExplainRuntime
from control_plane.use_cases.export_manifest import ExportManifest
from control_plane.use_cases.get_grid import GetGrid
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.get_supervisor import GetSupervisor
from control_plane.use_cases.get_watchers import GetWatchers
from control_plane.use_cases.hibernate_runtime import HibernateRuntime
from control_plane.use_cases.jobs.book import JobBook
from control_plane.use_cases.jobs.cancel_job import CancelJob
from control_plane.use_cases.jobs.create_job import CreateJob
from control_plane.use_cases.jobs.read_jobs import GetJob, ListJobs, WatchJob
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.plan_manifest import PlanManifest
from control_plane.use_cases.ports import Clock, Fleet, ManifestReader, ManifestWriter, ProfileReader, Store
from control_plane.use_cases.project_book import ProjectBook
from control_plane.use_cases.project_keys import CreateProjectKey, RevokeProjectKey
from control_plane.use_cases.randomness import SystemRandomness
from control_plane.use_cases.read_events import ListEvents
from control_plane.use_cases.read_join_tokens import ListJoinTokens
from control_plane.use_cases.read_models import GetModel, ListModels
from control_plane.use_cases.read_nodes import GetNode, ListNodes
from control_plane.use_cases.read_projects import GetProject, ListProjectKeys, ListProjects, ViewProjects
from control_plane.use_cases.read_runtimes import GetRuntime, ListRuntimes
from control_plane.use_cases.renew_certificate import RenewCertificate
from control_plane.use_cases.renew_operator import RenewOperator
from control_plane.use_cases.restore_runtime import RestoreRuntime
from control_plane.use_cases.resume_placement import ResumePlacement
from control_plane.use_cases.revoke_node import RevokeNode
from control_plane.use_cases.rotate_authority import PrepareAuthority, ReadRotation, StepAuthority
from control_plane.use_cases.scale_runtime import ScaleRuntime
from control_plane.use_cases.set_profile import ListProfiles, SetProfile
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from control_plane.use_cases.update_node import UpdateNode
from control_plane.use_cases.update_project import DeleteProjectPin, SetProjectPin, UpdateProject
from control_plane.use_cases.wake_runtime import WakeRuntime
from control_plane.use_cases.watch_events import WatchEvents
from control_plane.use_cases.watch_runtimes import WatchRuntimes


@dataclass(frozen=True, slots=True)
class Parts:
    """What the servicers stand on."""

    store: Store
    mirror: Mirror
    fleet: Fleet
    clock: Clock
    circumstances: Circumstances
    authority: EmbeddedAuthority
    trust: TrustKeeper
    reader: ManifestReader
    profiles: ProfileReader
    writer: ManifestWriter
    streams: Streams
    log_sink: LogSink
    runtime_log: RuntimeLog
    guards: Guards
    matrix: GetMatrix
    grid: GetGrid
    supervisor: GetSupervisor
    watchers: GetWatchers
    replicas: Callable[[], Sequence[Replica]]
    create_job: CreateJob
    jobs: JobBook
    projects: ProjectBook
    claims: ClaimUseCases
    ask: Ask
    grpc_address: Callable[[], str]
    enrollment_address: Callable[[], str]
    address_of_peer: Callable[[str], str]
    """Where a call on the enrolment port comes from."""
    tries: TryRules = field(default_factory=TryRules)


def assembled(parts: Parts) -> Servicers:
    tokens = PageTokens()
    return Servicers(
        agent=_agent(parts),
        authority=_authority(parts),
        claim=ClaimServicer(parts.claims, tokens),
        enrollment=_enrollment(parts),
        inference=InferenceServicer(parts.ask),
        job=_job(parts, tokens),
        model=_model(parts, tokens),
        node=_node(parts, tokens),
        project=_project(parts, tokens),
        runtime=_runtime(parts, tokens),
        state=_state(parts),
    )


def _agent(parts: Parts) -> AgentServicer:
    renew = RenewCertificate(parts.store, parts.clock, parts.authority)
    return AgentServicer(parts.streams, parts.log_sink, renew, parts.authority)


def _authority(parts: Parts) -> AuthorityServicer:
    store, clock, trust = parts.store, parts.clock, parts.trust
    read = ReadRotation(store, parts.mirror, clock)
    use_cases = AuthorityUseCases(
        read=read,
        prepare=PrepareAuthority(store, clock, trust, read, lambda: len(parts.replicas()) > 1),
        step=StepAuthority(store, clock, trust, read),
        renew=RenewOperator(store, clock, parts.authority),
    )
    return AuthorityServicer(use_cases, parts.authority)


def _enrollment(parts: Parts) -> EnrollmentServicer:
    store, clock = parts.store, parts.clock
    tries = FailedTries(clock, parts.tries)
    desk = Desk(parts.authority, parts.trust, parts.grpc_address, tries, parts.address_of_peer, clock, store)
    enroll = EnrollNode(store, clock, SystemRandomness(), parts.authority)
    return EnrollmentServicer(enroll, DiagnoseCredential(store, clock), desk)


def _job(parts: Parts, tokens: PageTokens) -> JobServicer:
    store = parts.store
    watch, cancel = WatchJob(store, parts.jobs), CancelJob(store, parts.clock)
    return JobServicer(JobUseCases(parts.create_job, GetJob(store), ListJobs(store), watch, cancel), tokens)


def _model(parts: Parts, tokens: PageTokens) -> ModelServicer:
    store, clock = parts.store, parts.clock
    create = CreateModel(store, clock, SystemRandomness())
    return ModelServicer(ModelUseCases(create, GetModel(store), ListModels(store), DeleteModel(store, clock)), tokens)


def _node(parts: Parts, tokens: PageTokens) -> NodeServicer:
    store, fleet, clock = parts.store, parts.fleet, parts.clock
    use_cases = NodeUseCases(
        get=GetNode(store, fleet),
        list=ListNodes(store, fleet),
        update=UpdateNode(store, fleet, clock),
        approve=ApproveNode(store, fleet, clock),
        revoke=RevokeNode(store, fleet, clock),
        drain=DrainNode(store, fleet, clock),
        resume=ResumeNode(store, fleet, clock),
        resume_placement=ResumePlacement(store, fleet, clock),
        allow_removals=AllowRemovals(store, fleet, clock, parts.guards),
        create_token=CreateJoinToken(store, clock, SystemRandomness()),
        list_tokens=ListJoinTokens(store),
        delete_token=DeleteJoinToken(store),
    )
    return NodeServicer(use_cases, tokens, clock, JoinAddress(lambda: parts.authority.pin, parts.enrollment_address))


def _project(parts: Parts, tokens: PageTokens) -> ProjectServicer:
    store, clock = parts.store, parts.clock
    use_cases = ProjectUseCases(
        create=CreateProject(store, clock, SystemRandomness()),
        get=GetProject(store),
        list=ListProjects(store),
        update=UpdateProject(store, clock),
        delete=DeleteProject(store, clock),
        create_key=CreateProjectKey(store, clock, SystemRandomness()),
        list_keys=ListProjectKeys(store, parts.projects),
        revoke_key=RevokeProjectKey(store, clock),
        set_pin=SetProjectPin(store, clock),
        delete_pin=DeleteProjectPin(store, clock),
        view=ViewProjects(parts.projects, parts.mirror, parts.fleet, clock),
    )
    return ProjectServicer(use_cases, tokens)


def _runtime(parts: Parts, tokens: PageTokens) -> RuntimeServicer:
    store, fleet, clock = parts.store, parts.fleet, parts.clock
    use_cases = RuntimeUseCases(
        apply=ApplyManifest(store, fleet, clock, SystemRandomness(), parts.reader),
        plan=PlanManifest(store, fleet, clock, parts.reader, parts.circumstances),
        export=ExportManifest(store, parts.writer),
        get=GetRuntime(store, fleet),
        list=ListRuntimes(store, fleet),
        watch=WatchRuntimes(store, parts.mirror, fleet),
        restore=RestoreRuntime(store, fleet, clock),
        shutdown=ShutdownRuntime(store, fleet, clock),
        hibernate=HibernateRuntime(store, fleet, clock),
        wake=WakeRuntime(store, fleet, clock),
        delete=DeleteRuntime(store, clock),
        scale=ScaleRuntime(store, fleet, clock),
        set_profile=SetProfile(store, fleet, clock, parts.profiles),
        list_profiles=ListProfiles(parts.profiles),
        explain=ExplainRuntime(store, fleet, parts.circumstances),
        log=parts.runtime_log,
    )
    return RuntimeServicer(use_cases, tokens, clock)


def _state(parts: Parts) -> StateServicer:
    store, clock = parts.store, parts.clock
    use_cases = StateUseCases(
        matrix=parts.matrix,
        grid=parts.grid,
        supervisor=parts.supervisor,
        watchers=parts.watchers,
        replicas=parts.replicas,
        list_events=ListEvents(store),
        watch_events=WatchEvents(store),
    )
    return StateServicer(use_cases, clock)
