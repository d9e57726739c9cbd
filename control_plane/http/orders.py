"""The two orders that may be given over HTTP: restore a runtime, and shut it down. Each makes a job."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import JobId, RuntimeId, parsed
from control_plane.domain.instance import RestartBudget
from control_plane.domain.jobs.job import Job, JobKind, JobOrder, JobState
from control_plane.domain.view import RuntimeView
from control_plane.http import job_shapes
from control_plane.http.convert import budget_to_json
from control_plane.use_cases.jobs.create_job import CreateJob
from control_plane.use_cases.read_runtimes import GetRuntime
from gateway.ports import Callers

RESTORE_PATH = "/orchestrator/runtimes/{runtime}/restore"
SHUTDOWN_PATH = "/orchestrator/runtimes/{runtime}/shutdown"
KEY_HEADER = "idempotency-key"
_BROKEN = 500
_EXHAUSTED = "RESTART_BUDGET_EXHAUSTED"
_STATUS = {_EXHAUSTED: 429}


@dataclass(frozen=True, slots=True)
class Orders:
    """The use cases behind them."""

    create: CreateJob
    runtime: GetRuntime


def order_routes(orders: Orders, callers: Callers) -> list[Route]:
    async def restore(request: Request) -> Response:
        body = await _body(request)
        view = await orders.runtime(_runtime(request))
        _check_preset(body, view)
        order = _order(view, JobKind.RESTORE, restart=body.restart, reset_budget=body.reset_budget)
        job = await orders.create(order, _key(request), _who(request, callers))
        return _restore_answer(job, await orders.runtime(view.runtime.id))

    async def shutdown(request: Request) -> Response:
        order = _order(await orders.runtime(_runtime(request)), JobKind.SHUTDOWN)
        return _shutdown_answer(await orders.create(order, _key(request), _who(request, callers)))

    handlers: dict[str, Callable[[Request], Awaitable[Response]]] = {RESTORE_PATH: restore, SHUTDOWN_PATH: shutdown}
    return [
        Route(path.replace("{runtime}", "{runtime:path}"), handler, methods=["POST"])
        for path, handler in handlers.items()
    ]


async def _body(request: Request) -> job_shapes.Restore:
    """InvalidArgument. The gateway has bounded its length."""
    raw = await request.body()
    try:
        return msgspec.json.decode(raw or b"{}", type=job_shapes.Restore)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(
            f"The body is no restore order: {error}.", 'Send nothing, or {"restart": true}.'
        ) from None


def _check_preset(body: job_shapes.Restore, view: RuntimeView) -> None:
    own = view.runtime.spec.preset
    if body.preset and body.preset != own:
        text = f"Runtime {view.runtime.id} has the preset {own!r}, and a restore changes none."
        raise InvalidArgument(text, "Declare it in the runtime's manifest.", runtime=view.runtime.id)


def _runtime(request: Request) -> RuntimeId:
    return RuntimeId(parsed(request.path_params["runtime"], "runtimes", "runtime"))


def _key(request: Request) -> JobId | None:
    """InvalidId. The same key with the same order is the same job."""
    key = request.headers.get(KEY_HEADER, "")
    return JobId(parsed(key, "jobs", "job")) if key else None


def _who(request: Request, callers: Callers) -> str:
    caller = callers.authenticate(request.headers.get("authorization"))
    return caller.id if caller else ""


def _order(view: RuntimeView, kind: JobKind, *, restart: bool = False, reset_budget: bool = False) -> JobOrder:
    return JobOrder(kind, view.runtime.id, kind.time_limit, restart=restart, reset_budget=reset_budget)


def _restore_answer(job: Job, view: RuntimeView) -> Response:
    problem = job.problem if job.state in (JobState.FAILED, JobState.ABORTED) else None
    taken = job_shapes.RestoreTaken(
        ok=problem is None,
        runtime_id=job.order.runtime,
        pending=not job.state.over,
        restart_budget=budget_to_json(_budget(view)),
        job_id=job.id,
        reason=_reason(problem.reason, problem.text) if problem else "",
        code=problem.reason if problem else "",
        remedy=problem.remedy if problem else "",
    )
    return _answer(taken, _STATUS.get(taken.code, _BROKEN) if problem else 202)


def _shutdown_answer(job: Job) -> Response:
    stopped = job.state is JobState.SUCCEEDED
    taken = job_shapes.ShutdownTaken(
        ok=True, runtime_id=job.order.runtime, stopped=stopped, pending=not job.state.over, job_id=job.id
    )
    return _answer(taken, 202)


def _reason(code: str, text: str) -> str:
    return "Restart budget exhausted" if code == _EXHAUSTED else text


def _budget(view: RuntimeView) -> RestartBudget:
    """As its node counts it; as declared while no node has."""
    if view.instance is not None and view.instance.restart_budget is not None:
        return view.instance.restart_budget
    policy = view.runtime.spec.restart
    return RestartBudget(policy.max_restarts, policy.window, 0, policy.max_restarts)


def _answer(shape: job_shapes.RestoreTaken | job_shapes.ShutdownTaken, status: int) -> Response:
    return Response(msgspec.json.encode(shape), status, media_type="application/json")
