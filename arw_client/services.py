"""The services of the contract, each with an iterator over everything it lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from arw_client import messages as m
from arw_client._generated.arw import v1
from arw_client.calls import Calls

T = TypeVar("T")
Page = tuple[Sequence[T], str]
PAGE_SIZE = 1000


async def every(page: Callable[[str], Awaitable[Page[T]]]) -> AsyncIterator[T]:
    """The items of page after page, until one names no next."""
    items, token = await page("")
    while True:
        for item in items:
            yield item
        if not token:
            return
        items, token = await page(token)


class Nodes(Calls, v1.NodeServiceStub):
    def each(self) -> AsyncIterator[m.Node]:
        return every(self._page)

    def each_token(self) -> AsyncIterator[m.JoinToken]:
        return every(self._token_page)

    async def _page(self, token: str) -> Page[m.Node]:
        answer = await self.list_nodes(m.ListNodesRequest(page_size=PAGE_SIZE, page_token=token))
        return answer.nodes, answer.next_page_token

    async def _token_page(self, token: str) -> Page[m.JoinToken]:
        answer = await self.list_join_tokens(m.ListJoinTokensRequest(page_size=PAGE_SIZE, page_token=token))
        return answer.join_tokens, answer.next_page_token


class Runtimes(Calls, v1.RuntimeServiceStub):
    def each(self) -> AsyncIterator[m.Runtime]:
        return every(self._page)

    async def _page(self, token: str) -> Page[m.Runtime]:
        answer = await self.list_runtimes(m.ListRuntimesRequest(page_size=PAGE_SIZE, page_token=token))
        return answer.runtimes, answer.next_page_token


class Models(Calls, v1.ModelServiceStub):
    def each(self) -> AsyncIterator[m.Model]:
        return every(self._page)

    async def _page(self, token: str) -> Page[m.Model]:
        answer = await self.list_models(m.ListModelsRequest(page_size=PAGE_SIZE, page_token=token))
        return answer.models, answer.next_page_token


class Jobs(Calls, v1.JobServiceStub):
    def each(self) -> AsyncIterator[m.Job]:
        return every(self._page)

    async def _page(self, token: str) -> Page[m.Job]:
        answer = await self.list_jobs(m.ListJobsRequest(page_size=PAGE_SIZE, page_token=token))
        return answer.jobs, answer.next_page_token


class Projects(Calls, v1.ProjectServiceStub):
    def each(self) -> AsyncIterator[m.Project]:
        return every(self._page)

    async def _page(self, token: str) -> Page[m.Project]:
        answer = await self.list_projects(m.ListProjectsRequest(page_size=PAGE_SIZE, page_token=token))
        return answer.projects, answer.next_page_token


class Claims(Calls, v1.ClaimServiceStub):
    def each(self, project: str = "", runtime: str = "", *, live: bool = False) -> AsyncIterator[m.Claim]:
        """Resource names; empty: of all."""
        request = m.ListClaimsRequest(page_size=PAGE_SIZE, project=project, runtime=runtime, live=live)
        return every(lambda token: self._page(replace(request, page_token=token)))

    async def _page(self, request: m.ListClaimsRequest) -> Page[m.Claim]:
        answer = await self.list_claims(request)
        return answer.claims, answer.next_page_token


class Authorities(Calls, v1.AuthorityServiceStub):
    pass


class Inference(Calls, v1.InferenceServiceStub):
    pass


class State(Calls, v1.StateServiceStub):
    async def matrix(self) -> m.RuntimeMatrix:
        answer = await self.get_runtime_matrix()
        return answer.matrix or m.RuntimeMatrix()

    async def supervisor(self) -> m.SupervisorSnapshot:
        answer = await self.get_supervisor()
        return answer.supervisor or m.SupervisorSnapshot()

    async def grid(self) -> m.RuntimeGrid:
        answer = await self.get_runtime_grid()
        return answer.grid or m.RuntimeGrid()

    async def replicas(self) -> list[m.ControlPlaneReplica]:
        """The processes of the control plane that live, the oldest first."""
        return (await self.list_replicas()).replicas

    async def watchers(self) -> m.Watchers:
        answer = await self.get_watchers()
        return answer.watchers or m.Watchers()
