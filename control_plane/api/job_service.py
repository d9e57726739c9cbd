# ruff: noqa: ARG002, N802 - the contract names methods and parameters
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from arw.v1 import job_service_pb2 as pb
from arw.v1.job_service_pb2_grpc import JobServiceServicer
from control_plane.api.authorization import caller
from control_plane.api.convert import job_id
from control_plane.api.page_tokens import PageTokens
from control_plane.messages.jobs import job_to_proto, order_from_proto
from control_plane.use_cases.jobs.cancel_job import CancelJob
from control_plane.use_cases.jobs.create_job import CreateJob
from control_plane.use_cases.jobs.read_jobs import GetJob, ListJobs, WatchJob


@dataclass(frozen=True, slots=True)
class JobUseCases:
    create: CreateJob
    get: GetJob
    list: ListJobs
    watch: WatchJob
    cancel: CancelJob


class JobServicer(JobServiceServicer):
    def __init__(self, use_cases: JobUseCases, tokens: PageTokens) -> None:
        self._do = use_cases
        self._tokens = tokens

    async def CreateJob(self, request: pb.CreateJobRequest, context: Any) -> pb.CreateJobResponse:
        job = job_id(request.job_id) if request.job_id else None
        made = await self._do.create(order_from_proto(request.order), job, caller.get().presented.node)
        return pb.CreateJobResponse(job=job_to_proto(made))

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=job_to_proto(await self._do.get(job_id(request.name))))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        who = caller.get().name
        page = await self._do.list(request.page_size, self._tokens.open("ListJobs", who, request.page_token))
        token = self._tokens.seal("ListJobs", who, page.next_token)
        return pb.ListJobsResponse(jobs=[job_to_proto(job) for job in page.items], next_page_token=token)

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        async for job in self._do.watch(job_id(request.name)):
            yield pb.WatchJobResponse(job=job_to_proto(job))

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.CancelJobResponse:
        return pb.CancelJobResponse(job=job_to_proto(await self._do.cancel(job_id(request.name))))
