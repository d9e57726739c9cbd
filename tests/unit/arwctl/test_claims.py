from __future__ import annotations

import asyncio
import datetime as dt
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from arw.v1 import accelerator_pb2, claim_pb2, problem_pb2, runtime_pb2
from arw_client import Context, connect, holding
from arw_client import messages as m
from arw_client.errors import ArwError
from arw_client.holding import Holding, acquired
from arwctl.claiming import given_up
from arwctl.command import Call
from arwctl.exit_codes import ExitCode
from arwctl.screen import Screen
from tests.fakes.operator_api import Missing, OperatorApi
from tests.fakes.operator_claims import Away, NothingHeld
from tests.unit.arwctl.conftest import EVIL, Arwctl

HELD = claim_pb2.ClaimHold(runtime="runtimes/tiny-chat", node="nodes/box-1", fence=7)
ACQUIRE = ("claim", "acquire", "--model", "tiny-chat")


def claim(state: str, **more: Any) -> claim_pb2.Claim:
    said: dict[str, Any] = {
        "name": "claims/c1",
        "id": "c1",
        "order": claim_pb2.RuntimeClaim(
            model_tag="tiny-chat", fallbacks=[claim_pb2.ClaimRequirement(model_tag="other")]
        ),
        "state": claim_pb2.ClaimState.Value(f"CLAIM_STATE_{state}"),
        "state_label": state.capitalize(),
        **more,
    }
    return claim_pb2.Claim(**said)


def queued(position: int = 2) -> claim_pb2.Claim:
    problem = problem_pb2.Problem(text=f"All slots are held{EVIL}.")
    return claim("QUEUED", wait=claim_pb2.ClaimWait(position=position, problem=problem, runtime="runtimes/tiny-chat"))


@pytest.fixture
def context_file(state: Path) -> tuple[str, Path]:
    return "--context", state / "context.json"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again at once."""
    monkeypatch.setattr(holding, "RETRY_S", 0.01)
    monkeypatch.setattr("arwctl.claiming.RETRY_S", 0.01)


async def test_who_waits_is_told_each_place_in_the_line_and_then_what_it_got(
    run: Arwctl, context_file: tuple[str, Path], api: OperatorApi
) -> None:
    api.claims.course += [queued(2), queued(2), queued(1), claim("GRANTED", hold=HELD)]
    said = await run(*ACQUIRE, *context_file)
    assert said.code == 0, said.err
    assert [line.partition(":")[2].split(" for ")[0] for line in said.err.splitlines()[:2]] == [
        " Queued, number 2",
        " Queued, number 1",
    ]
    assert said.err.splitlines()[2] == "c1: Granted, tiny-chat on box-1, fence 7"
    assert "X-ARW-Claim: c1" in said.err.splitlines()[3]
    assert "\x1b" not in said.err
    assert {"Runtime:            tiny-chat", "Node:               box-1", "Fence:              7"} <= set(
        said.out.splitlines()
    )


async def test_all_that_is_asked_for_is_said(run: Arwctl, context_file: tuple[str, Path], api: OperatorApi) -> None:
    api.claims.course.append(claim("GRANTED", hold=HELD))
    words = (
        *("--project", "team-a", "--min-tokens-per-sec", "12.5", "--context-window", "4096", "--accelerator", "cpu"),
        *("--feature", "tools", "--feature", "size=big", "--modality", "vision", "--exclusive", "--ttl", "90s"),
        *("--priority", "-3", "--max-disruption", "2m", "--stop-after", "1h", "--fallback", "a", "--fallback", "b"),
        *("--request-id", "9a3f0b60-6f0b-4a0e-8a0f-000000000000", "-o", "json"),
    )
    said = await run(*ACQUIRE, *words, *context_file)
    assert (said.code, json.loads(said.out)["hold"]["fence"]) == (0, 7), said.err
    request = api.calls[0]
    asked = request.claim
    assert (request.project, request.wait, request.request_id[:4]) == ("projects/team-a", True, "9a3f")
    assert (asked.model_tag, asked.min_tokens_per_sec, asked.context_window) == ("tiny-chat", 12.5, 4096)
    assert (asked.accelerator, asked.modality) == (accelerator_pb2.ACCELERATOR_KIND_CPU, runtime_pb2.MODALITY_VISION)
    assert (list(asked.features), asked.exclusive, asked.priority) == (["tools", "size=big"], True, -3)
    assert (asked.ttl.seconds, asked.max_disruption.seconds, asked.stop_after.seconds) == (90, 120, 3600)
    assert [each.model_tag for each in asked.fallbacks] == ["a", "b"]
    assert asked.fallbacks[0].context_window == 4096, "it has to serve the same requests"
    assert asked.fallbacks[0].min_tokens_per_sec == 0, "as fast as it is"


async def test_a_window_is_said_in_local_time(run: Arwctl, context_file: tuple[str, Path], api: OperatorApi) -> None:
    api.claims.course.append(claim("QUEUED", booked_runtime="runtimes/tiny-chat"))
    words = ("--start", "2030-05-01T20:00:00", "--end", "2030-05-02T06:00:00", "--no-wait")
    said = await run(*ACQUIRE, *words, *context_file)
    window = api.calls[0].claim.window
    assert window.start_time.ToSeconds() == dt.datetime(2030, 5, 1, 20).astimezone().timestamp()
    assert window.end_time.ToSeconds() - window.start_time.ToSeconds() == 36000
    assert "Promised:           tiny-chat" in said.out.splitlines()


async def test_what_can_never_be_is_refused_with_what_to_do(
    run: Arwctl, context_file: tuple[str, Path], api: OperatorApi
) -> None:
    problem = problem_pb2.Problem(reason=problem_pb2.REASON_NOT_FOUND, text="Nobody is named so.", remedy="Declare it.")
    api.claims.course.append(claim("REJECTED", problem=problem))
    said = await run(*ACQUIRE, "--no-wait", *context_file)
    assert (said.code, said.out) == (ExitCode.FAILED, "")
    assert said.err.splitlines()[-2:] == [
        "error: Claim c1 is rejected: Nobody is named so.",
        "next:  Declare it.",
    ]


async def test_who_does_not_wait_is_told_where_it_stands(
    run: Arwctl, context_file: tuple[str, Path], api: OperatorApi
) -> None:
    api.claims.course.append(queued())
    said = await run(*ACQUIRE, "--no-wait", "--output", "json", *context_file)
    found = json.loads(said.out)
    assert (said.code, found["state"], found["wait"]["position"]) == (0, "queued", 2)
    assert not api.calls[0].wait


async def test_a_claim_that_comes_too_late_is_given_up(
    run: Arwctl, context_file: tuple[str, Path], api: OperatorApi
) -> None:
    api.claims.course.append(queued())
    said = await run(*ACQUIRE, "--timeout", "1s", *context_file)
    assert said.code == ExitCode.FAILED
    assert "was not granted within 1 s (number 2 for tiny-chat" in said.err
    assert "--fallback" in said.err.splitlines()[-1]
    assert (type(api.calls[-1]).__name__, api.calls[-1].name) == ("ReleaseClaimRequest", "claims/c1")


@pytest.mark.usefixtures("at_once")
async def test_who_waits_waits_on_after_the_control_plane_was_away(
    run: Arwctl, context_file: tuple[str, Path], api: OperatorApi
) -> None:
    api.claims.course += [queued(), Away("It restarts."), claim("GRANTED", hold=HELD)]
    said = await run(*ACQUIRE, *context_file)
    assert said.code == 0, said.err
    first, second = api.calls
    assert first.request_id == second.request_id != "", "the same claim, not another one"


async def test_a_control_plane_that_is_not_there_is_told_at_once(
    run: Arwctl, context_file: tuple[str, Path], api: OperatorApi
) -> None:
    api.claims.course.append(Away("It restarts.", "Ask again."))
    said = await run(*ACQUIRE, *context_file)
    assert (said.code, said.err.splitlines()) == (1, ["error: It restarts.", "next:  Ask again."])


async def test_claims_are_renewed_released_revoked_and_shown(
    run: Arwctl, context_file: tuple[str, Path], api: OperatorApi
) -> None:
    api.claims.claim = claim("GRANTED", hold=HELD, project="projects/team-a")
    assert "State:              Granted" in (await run("claim", "show", "c1", *context_file)).out
    assert (await run("claim", "renew", "c1", "--project", "team-a", *context_file)).code == 0
    assert (api.calls[-1].name, api.calls[-1].project) == ("claims/c1", "projects/team-a")
    assert (await run("claim", "revoke", "c1", "--why", "Needed.", *context_file)).out == "c1: Revoked\n"
    assert api.calls[-1].why == "Needed."
    assert (await run("claim", "release", "c1", *context_file)).out == "c1: Released\n"


async def test_all_that_there_is_to_a_claim_is_shown(
    run: Arwctl, context_file: tuple[str, Path], api: OperatorApi
) -> None:
    told = problem_pb2.Problem(text=f"Its node is away{EVIL}.", remedy="Look at it.")
    hold = claim_pb2.ClaimHold(runtime="runtimes/other", node="nodes/box-2", fence=8)
    hold.not_after.FromSeconds(1_900_000_000)
    found = claim("SUSPENDED", hold=hold, alternative=1, problem=told, notice=claim_pb2.ClaimNotice(problem=told))
    found.order.exclusive, found.order.priority = True, 5
    found.order.fallbacks[0].MergeFrom(claim_pb2.ClaimRequirement(min_tokens_per_sec=7, context_window=512))
    found.order.stop_after.FromSeconds(60)
    found.order.window.end_time.FromSeconds(1_900_000_000)
    api.claims.claim = found
    said = await run("claim", "show", "c1", *context_file)
    shown = dict(line.split(":", 1) for line in said.out.splitlines())
    assert "\x1b" not in said.out
    assert shown["Model"].strip() == "other (fallback 1)"
    assert shown["Asks for"].strip() == "the instance alone, 7 tokens/s, context 512, priority 5"
    assert (shown["Fallbacks"].strip(), shown["Cut off at most"].strip()) == ("other", "60 s")
    assert shown["Problem"].strip().endswith("Look at it.")
    assert {"Ends", "Window", "Loses it"} <= set(shown)


async def test_one_that_is_over_cannot_be_renewed(
    run: Arwctl, context_file: tuple[str, Path], api: OperatorApi
) -> None:
    api.claims.refusals.append(NothingHeld("Claim c1 expired.", "Acquire another one."))
    said = await run("claim", "renew", "c1", *context_file)
    assert (said.code, said.err.splitlines()) == (1, ["error: Claim c1 expired.", "next:  Acquire another one."])


async def test_claims_are_listed(run: Arwctl, context_file: tuple[str, Path], api: OperatorApi) -> None:
    api.claims.listed += [claim("GRANTED", hold=HELD), claim("QUEUED", alternative=1)]
    said = await run("claim", "list", "--live", "--runtime", "tiny-chat", "--project", "team-a", *context_file)
    rows = [line.split() for line in said.out.splitlines()]
    assert [row[2:7] for row in rows[1:]] == [
        ["tiny-chat", "Granted", "tiny-chat", "box-1", "7"],
        ["other", "Queued", "-", "-", "-"],
    ]
    request = api.calls[0]
    assert (request.live, request.runtime, request.project) == (True, "runtimes/tiny-chat", "projects/team-a")
    api.claims.listed.clear()
    assert "arwctl claim acquire" in (await run("claim", "list", *context_file)).err


async def test_one_claim_is_watched_to_its_end(run: Arwctl, context_file: tuple[str, Path], api: OperatorApi) -> None:
    api.claims.claim = claim("GRANTED", hold=HELD)
    watching = asyncio.ensure_future(run("claim", "watch", "c1", "-o", "json", *context_file))
    await until(lambda: len(api.calls) >= 2)
    await api.claims.turn("SUSPENDED", problem=problem_pb2.Problem(text="Its node is offline."))
    await api.claims.turn("REVOKED")
    said = await watching
    assert said.code == ExitCode.FAILED, "its holder did not end it"
    states = [json.loads(line)["state"] for line in said.out.splitlines()]
    assert (states[0], states[-1]) == ("granted", "revoked")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--model", "a", "--ttl", "soon"),
        ("--model", "a", "--accelerator", "abacus"),
        ("--model", "a", "--modality", "smell"),
        ("--model", "a", "--priority", "1000"),
        ("--model", "a", "--start", "tomorrow"),
        ("--model", "a", "surplus"),
    ],
)
async def test_what_is_no_claim_is_wrong_usage(
    run: Arwctl, context_file: tuple[str, Path], api: OperatorApi, words: tuple[str, ...]
) -> None:
    assert (await run("claim", "acquire", *words, *context_file)).code == ExitCode.USAGE
    assert api.calls == []


def granted(ttl: dt.timedelta) -> m.Claim:
    hold = m.ClaimHold(runtime="runtimes/tiny-chat", node="nodes/box-1", fence=7)
    order = m.RuntimeClaim(model_tag="tiny-chat", ttl=ttl)
    return m.Claim(name="claims/c1", id="c1", state=m.ClaimState.GRANTED, hold=hold, order=order)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - the API is asked as its callers find it
            await asyncio.sleep(0.005)


def renewals(api: OperatorApi) -> int:
    return sum(type(each).__name__ == "RenewClaimRequest" for each in api.calls)


@pytest.mark.usefixtures("at_once")
async def test_what_is_held_is_renewed_at_a_third_of_its_life_also_after_the_control_plane_was_away(
    api: OperatorApi, context: Context
) -> None:
    short = dt.timedelta(milliseconds=30)
    api.claims.claim = claim("GRANTED", hold=HELD)
    api.claims.claim.order.ttl.FromTimedelta(short)
    api.claims.refusals += [Away("It restarts."), Away("It restarts.")]
    news: list[m.Claim] = []
    kept = Holding(partial(connect, context), granted(short), news.append)
    assert kept.period_s == pytest.approx(0.01)
    keeping = asyncio.create_task(kept.run())
    await until(lambda: renewals(api) >= 5)
    await api.claims.turn("SUSPENDED")
    await api.claims.turn("GRANTED", hold=claim_pb2.ClaimHold(fence=9))
    await api.claims.turn("EXPIRED")
    await keeping
    assert [each.state for each in news][-1] is m.ClaimState.EXPIRED
    assert kept.claim.state is m.ClaimState.EXPIRED


@pytest.mark.usefixtures("at_once")
async def test_a_renewal_that_comes_too_late_tells_how_the_claim_ended(api: OperatorApi, context: Context) -> None:
    api.claims.claim = claim("EXPIRED")
    api.claims.refusals.append(NothingHeld("It is over."))
    news: list[m.Claim] = []
    await Holding(partial(connect, context), granted(dt.timedelta(seconds=15)), news.append).run()
    assert [each.state for each in news] == [m.ClaimState.EXPIRED]


async def test_who_may_not_renew_a_claim_is_told(api: OperatorApi, context: Context) -> None:
    api.claims.claim = claim("GRANTED", hold=HELD)
    api.claims.refusals.append(Missing("There is no claim c1."))
    with pytest.raises(ArwError, match="There is no claim c1"):
        await Holding(partial(connect, context), granted(dt.timedelta(seconds=15)), lambda _: None).run()


@pytest.mark.usefixtures("at_once")
async def test_a_claim_is_given_up_also_while_the_control_plane_restarts(api: OperatorApi, state: Path) -> None:
    said = io.StringIO()
    call = Call(state, state / "context.json", Screen(said, said))
    api.claims.refusals += [Away("It restarts."), Away("It restarts.")]
    api.claims.claim = claim("GRANTED")
    await given_up(call, granted(dt.timedelta(seconds=15)))
    assert said.getvalue() == "c1: Released\n"
    api.claims.refusals.append(Missing("There is no claim c1."))
    await given_up(call, granted(dt.timedelta(seconds=15)))
    assert said.getvalue().splitlines()[-1].startswith("c1: not released, so it ends when it expires. There is no")


async def test_a_claim_is_asked_for_once_where_nobody_waits(api: OperatorApi, context: Context) -> None:
    api.claims.course += [queued(), queued(1)]
    request = m.AcquireClaimRequest(claim=m.RuntimeClaim(model_tag="tiny-chat"))
    found = await acquired(partial(connect, context), request, lambda _: None)
    assert (found.state, len(api.calls)) == (m.ClaimState.QUEUED, 1)
