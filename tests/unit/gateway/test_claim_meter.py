"""What claims took."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from control_plane.data_path.claim_meter import ClaimMeter, Taken
from gateway.ports import Exchange, Route, Tokens
from tests.fakes.claims import MINE, Site, a_server, a_site
from tests.fakes.data_path import FakeMeter


@pytest.fixture
async def site() -> Site:
    return await a_site(a_server("chat", "n1"))


def exchange(claim: str, tokens: Tokens | None = None, *, refused: bool = False) -> Exchange:
    return Exchange(
        route=Route("nodes/n1/instances/chat", "n1", claim, 2, "chat"),
        caller="key",
        path="/v1/chat/completions",
        status=200,
        streamed=False,
        complete=True,
        abandoned=False,
        first_byte_ms=1,
        first_token_ms=2,
        total_ms=40,
        bytes_out=9,
        tokens=tokens,
        trace_id="t",
        refused_by_node=refused,
        project=MINE,
    )


async def test_requests_tokens_and_time_are_summed_by_claim_and_said_once_when_it_ends(site: Site) -> None:
    every = FakeMeter()
    meter = ClaimMeter(site.book, every)
    claim = await site.granted()
    for tokens in (Tokens(7, 3), Tokens(1, 1), None):
        meter.record(exchange(claim.id, tokens))
    meter.record(exchange(claim.id, refused=True))
    meter.record(exchange("system", Tokens(5, 5)))
    assert meter.of(claim.id) == Taken(MINE, 3, 8, 4, 120)
    assert (meter.of("system"), len(every.exchanges)) == (None, 5)
    with capture_logs() as told:
        await site.release(claim.id)
        await site.settled()
    (line,) = [entry for entry in told if entry["event"] == "claim_metered"]
    assert (line["claim"], line["project"], line["requests"]) == (claim.id, MINE, 3)
    assert (line["prompt_tokens"], line["completion_tokens"], line["busy_ms"]) == (8, 4, 120)
    assert meter.of(claim.id) is None


async def test_what_was_cut_with_its_claim_is_said_too_and_kept_no_longer(site: Site) -> None:
    meter = ClaimMeter(site.book, FakeMeter())
    with capture_logs() as told:
        meter.record(exchange("gone", Tokens(2, 2)))
    assert [entry["prompt_tokens"] for entry in told] == [2]
    assert meter.of("gone") is None
