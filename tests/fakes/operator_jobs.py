"""The job service of the operator API in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from arw.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc

Note = Callable[[Any, Any], Awaitable[None]]


class Jobs(job_service_pb2_grpc.JobServiceServicer):
    """Each job is the same one, further on: `course` is how it goes."""

    def __init__(self, note: Note, course: list[job_pb2.Job]) -> None:
        self._note = note
        self._course = course

    async def CreateJob(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        await self._note(request, context)
        return job_service_pb2.CreateJobResponse(job=self._course[0])

    async def GetJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._note(request, context)
        return job_service_pb2.GetJobResponse(job=self._course[0])

    async def ListJobs(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._note(request, context)
        return job_service_pb2.ListJobsResponse(jobs=self._course)

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        await self._note(request, context)
        for job in self._course:
            yield job_service_pb2.WatchJobResponse(job=job)

    async def CancelJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._note(request, context)
        return job_service_pb2.CancelJobResponse(job=self._course[0])
