"""The claim service of the operator API in memory, and what of the project service goes with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from arw.v1 import claim_pb2, claim_service_pb2, claim_service_pb2_grpc, project_pb2, project_service_pb2
from arw.v1 import project_service_pb2_grpc as projects_grpc
from wire.refusal import Refusal

Note = Callable[[Any, Any], Awaitable[None]]


class NothingHeld(Refusal):
    reason = "NOTHING_HELD"


class Away(Refusal):
    reason = "STORAGE_UNAVAILABLE"


class ClaimBook:
    """One claim, and how it goes."""

    def __init__(self) -> None:
        self.course: list[claim_pb2.Claim | Refusal] = []
        """What an Acquire tells, in turn; each call goes on where the last ended."""
        self.claim = claim_pb2.Claim()
        """As it is now."""
        self.listed: list[claim_pb2.Claim] = []
        self.refusals: list[Refusal] = []
        """Of the next renewals and releases."""
        self._changed = asyncio.Condition()

    async def turn(self, state: str, **more: Any) -> None:
        """Let it change, for everyone who watches."""
        changed = claim_pb2.Claim()
        changed.CopyFrom(self.claim)
        changed.ClearField("wait")
        changed.state = claim_pb2.ClaimState.Value(f"CLAIM_STATE_{state}")
        changed.state_label = state.capitalize()
        changed.MergeFrom(claim_pb2.Claim(**more))
        async with self._changed:
            self.claim = changed
            self._changed.notify_all()

    async def each(self) -> AsyncIterator[claim_pb2.Claim]:
        """As it is, then after each change."""
        async with self._changed:
            while True:
                seen = self.claim
                yield seen
                await self._changed.wait_for(lambda seen=seen: self.claim is not seen)  # type: ignore[misc]


class Claims(claim_service_pb2_grpc.ClaimServiceServicer):
    def __init__(self, note: Note, book: ClaimBook) -> None:
        self._note = note
        self._book = book

    async def AcquireClaim(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802 - the contract's name
        await self._note(request, context)
        while self._book.course:
            told = self._book.course.pop(0)
            if isinstance(told, Refusal):
                raise told
            self._book.claim = told
            yield claim_service_pb2.AcquireClaimResponse(claim=told)
            if not request.wait:
                return
        if self._book.claim.state == claim_pb2.CLAIM_STATE_QUEUED:
            await asyncio.Event().wait()

    async def RenewClaim(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._note(request, context)
        if self._book.refusals:
            raise self._book.refusals.pop(0)
        return claim_service_pb2.RenewClaimResponse(claim=self._book.claim)

    async def ReleaseClaim(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._note(request, context)
        if self._book.refusals:
            raise self._book.refusals.pop(0)
        await self._book.turn("RELEASED")
        return claim_service_pb2.ReleaseClaimResponse(claim=self._book.claim)

    async def RevokeClaim(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._note(request, context)
        await self._book.turn("REVOKED")
        return claim_service_pb2.RevokeClaimResponse(claim=self._book.claim)

    async def GetClaim(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._note(request, context)
        return claim_service_pb2.GetClaimResponse(claim=self._book.claim)

    async def ListClaims(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._note(request, context)
        return claim_service_pb2.ListClaimsResponse(claims=self._book.listed)

    async def WatchClaims(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        await self._note(request, context)
        async for claim in self._book.each():
            yield claim_service_pb2.WatchClaimsResponse(claim=claim)


class ProjectKeys(projects_grpc.ProjectServiceServicer):
    def __init__(self, note: Note) -> None:
        self._note = note

    async def ListProjects(self, request: Any, context: Any) -> Any:  # noqa: N802
        """As a control plane answers that does not know the call yet. So do the next ones."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED)

    CreateProject = GetProject = UpdateProject = DeleteProject = ListProjectKeys = ListProjects
    SetProjectPin = DeleteProjectPin = ListProjects

    async def CreateProjectKey(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._note(request, context)
        key = project_pb2.ProjectKey(name=f"{request.parent}/keys/k1", id="k1")
        return project_service_pb2.CreateProjectKeyResponse(key=key, secret_text="k1.secret")

    async def RevokeProjectKey(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._note(request, context)
        return project_service_pb2.RevokeProjectKeyResponse(key=project_pb2.ProjectKey(name=request.name, id="k1"))
