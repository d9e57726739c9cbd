from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.ports import Route, Tokens
from gateway.refusals import RuntimeClaimed
from node_agent.domain.spec import Hold, InstanceName
from tests.fakes.data_path import TOKEN, Replica, door
from tests.fakes.http_talk import Reply, request, talking
from tests.fakes.relay_rig import MODEL, NODE, Rig, until
from tests.fakes.stub_engine import KEY, stream_body

INSTANCE = InstanceName("nodes/box/instances/tiny")
CHAT = "/v1/chat/completions"


def chat(**stub: Any) -> dict[str, Any]:
    return {"model": "tiny", "stream": True, "messages": [{"role": "user", "content": "hi"}], "stub": stub}


def last_event(reply: Reply) -> Any:
    """Of a stream that was cut off after it."""
    assert not reply.whole
    return json.loads(reply.raw.rpartition(b"data: ")[2])


async def ask(port: int, body: Any, path: str = CHAT, **headers: str) -> Reply:
    async with talking(port) as talk:
        talk.ask("POST", path, body, authorization=TOKEN, **headers)
        return await talk.reply()


async def test_a_plain_request_reaches_the_engine_with_its_own_key_and_nothing_of_ours(rig: Rig) -> None:
    reply = await ask(rig.port, {"model": "tiny", "messages": []}, x_arw_claim="forged", x_custom="kept", cookie="c=1")
    assert (reply.status, reply.json()["choices"][0]["message"]["content"]) == (200, "hello")
    seen = dict(rig.engine.requests[0].headers)
    assert seen[b"authorization"] == f"Bearer {KEY}".encode()
    assert seen[b"x-custom"] == b"kept"
    assert seen[b"traceparent"].count(b"-") == 3
    assert not [name for name in seen if name.startswith(b"x-arw-") or name == b"cookie"]
    assert json.loads(rig.engine.requests[0].body) == {"model": "tiny", "messages": []}


async def test_an_engine_that_knows_another_name_is_asked_by_it(rig: Rig) -> None:
    rig.doors.doors[INSTANCE] = replace(rig.doors.doors[INSTANCE], model="llama3:8b")
    await ask(rig.port, {"model": "tiny", "messages": [], "seed": 2**60 + 1, "temperature": 0.1})
    asked = json.loads(rig.engine.requests[0].body)
    assert asked == {"model": "llama3:8b", "messages": [], "seed": 2**60 + 1, "temperature": 0.1}


async def test_a_stream_arrives_byte_for_byte_and_is_metered(rig: Rig) -> None:
    reply = await ask(rig.port, chat(tokens=20))
    assert reply.whole
    assert reply.raw == stream_body(20)
    exchange = await rig.meter.next()
    assert (exchange.status, exchange.complete, exchange.streamed, exchange.caller) == (200, True, True, "ops")
    assert exchange.tokens == Tokens(7, 20)
    assert exchange.first_byte_ms is not None
    assert exchange.first_token_ms is not None
    assert 0 < exchange.first_byte_ms <= exchange.first_token_ms <= exchange.total_ms
    assert exchange.bytes_out > len(reply.raw)


async def test_embeddings_are_metered_though_their_counts_come_first(rig: Rig) -> None:
    reply = await ask(rig.port, {"model": "tiny", "input": "x"}, "/v1/embeddings")
    assert len(reply.json()["data"][0]["embedding"]) == 4096
    assert (await rig.meter.next()).tokens == Tokens(7, 0)


async def test_a_chunked_request_body_is_framed_anew(rig: Rig) -> None:
    async with talking(rig.port) as talk:
        body = json.dumps(chat(tokens=1)).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nauthorization: {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        talk.send(head + b"5\r\n" + body[:5] + b"\r\n")
        talk.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 5, body[5:]))
        assert (await talk.reply()).status == 200
    assert rig.engine.requests[0].header(b"content-length") == b"%d" % len(body)


async def test_pipelined_requests_are_answered_in_order_on_one_connection(unix_rig: Rig) -> None:
    async with talking(unix_rig.port) as talk:
        slow = request("POST", CHAT, {"model": "tiny", "stub": {"delay_ms": 30}}, authorization=TOKEN)
        models = request("GET", "/v1/models", authorization=TOKEN)
        talk.send(slow + models + request("GET", "/healthz"))
        first, second, third = [await talk.reply() for _ in range(3)]
    assert first.json()["choices"]
    assert [entry["id"] for entry in second.json()["data"]] == ["tiny"]
    assert third.json() == {"status": "ok"}


async def test_a_client_that_leaves_cancels_the_generation(rig: Rig) -> None:
    async with talking(rig.port) as talk:
        talk.ask("POST", CHAT, chat(tokens=10_000, interval_ms=2), authorization=TOKEN)
        await talk.reader.readuntil(b"tok2")
    await until(lambda: rig.engine.closed_in_answer == 1)
    exchange = await rig.meter.next()
    assert (exchange.abandoned, exchange.complete) == (True, False)


async def test_a_client_that_leaves_before_the_first_byte_cancels_too(rig: Rig) -> None:
    async with talking(rig.port) as talk:
        talk.ask("POST", CHAT, chat(delay_ms=60_000), authorization=TOKEN)
        await until(lambda: bool(rig.engine.requests))
    await until(lambda: rig.engine.closed_in_answer == 1)


async def test_engine_connections_are_kept_and_a_silently_closed_one_costs_no_error(unix_rig: Rig) -> None:
    rig = unix_rig
    await ask(rig.port, {"model": "tiny"})
    await ask(rig.port, {"model": "tiny"})
    assert len(rig.engine.connections) == 1
    rig.engine.cut_on_reuse = True
    assert (await ask(rig.port, {"model": "tiny"})).status == 200
    assert len(rig.engine.connections) == 2


async def test_a_connection_that_an_older_session_parked_is_lent_to_nobody(rig: Rig) -> None:
    epoch, serial = rig.gate.sessions[NODE]
    rig.gate.sessions[NODE] = (epoch + 1, serial)
    asking = asyncio.create_task(ask(rig.port, chat()))
    await until(lambda: rig.gateway.parked(NODE) == 0)
    assert not rig.engine.requests
    rig.configure(epoch + 1)
    assert (await asking).status == 200


async def test_a_session_that_is_only_interrupted_keeps_its_connections(rig: Rig) -> None:
    del rig.gate.sessions[NODE]
    assert (await ask(rig.port, chat())).status == 200


async def test_a_relay_address_that_makes_no_sense_is_dialled_again_and_nothing_worse(rig: Rig) -> None:
    rig.link.configure(2, [Replica("replica:http", "")], 1)
    await asyncio.sleep(0.1)
    rig.gate.sessions[NODE] = (3, rig.gate.sessions[NODE][1])
    rig.configure(3)
    assert (await ask(rig.port, chat())).status == 200


async def test_a_stale_fence_is_refused_by_the_agent(rig: Rig) -> None:
    rig.doors.doors[INSTANCE] = door(rig.engine.port, Hold("system", 2))
    reply = await ask(rig.port, chat())
    assert (reply.status, reply.json()["error"]["code"]) == (403, "stale_fence")
    rig.routes.table["tiny"] = rig.route(fence=2)
    assert (await ask(rig.port, chat())).status == 200
    assert len(rig.engine.requests) == 1


async def test_a_stream_whose_hold_is_over_is_cut_and_those_of_others_go_on(rig: Rig) -> None:
    left = Hold("mine", 2)
    rig.doors.doors[INSTANCE] = door(rig.engine.port, Hold("system", 1), left)
    stays = replace(rig.route(), claim=left.claim, fence=left.fence)
    asking = asyncio.create_task(ask(rig.port, chat(tokens=10_000, interval_ms=20)))
    await until(lambda: bool(rig.engine.requests))
    rig.routes.table["tiny"] = stays
    other = asyncio.create_task(ask(rig.port, chat(tokens=20, interval_ms=20)))
    await until(lambda: len(rig.engine.requests) == 2)
    rig.doors.doors[INSTANCE] = door(rig.engine.port, left)
    rig.link.hand_over(INSTANCE, {left})
    assert last_event(await asking)["error"]["code"] == "engine_broke"
    assert (await other).raw == stream_body(20)


async def test_what_loses_its_hold_before_it_is_answered_goes_on_by_the_one_that_it_may_have_by_then(rig: Rig) -> None:
    asking = asyncio.create_task(ask(rig.port, chat(delay_ms=60_000)))
    await until(lambda: len(rig.engine.requests) == 1)
    newer = Hold("c1", 2)
    rig.routes.table["tiny"] = replace(rig.route(), claim=newer.claim, fence=newer.fence)
    rig.doors.doors[INSTANCE] = door(rig.engine.port, newer)
    rig.link.hand_over(INSTANCE, {newer})
    await until(lambda: len(rig.engine.requests) == 2)
    assert not asking.done()
    asking.cancel()
    await until(lambda: rig.routes.given == 0)


async def test_what_loses_its_hold_before_it_is_answered_hears_of_the_claim_that_took_it(rig: Rig) -> None:
    asking = asyncio.create_task(ask(rig.port, chat(delay_ms=60_000)))
    await until(lambda: len(rig.engine.requests) == 1)
    rig.routes.refused["tiny"] = RuntimeClaimed("tiny is held by another.", "Try again.", retry_after=7)
    rig.link.hand_over(INSTANCE, {Hold("c1", 2)})
    reply = await asking
    assert (reply.status, reply.headers["retry-after"], reply.json()["error"]["code"]) == (503, "7", "runtime_claimed")
    assert rig.routes.given == 0


async def test_a_claim_reaches_the_routes_and_the_node_hears_only_of_the_hold_that_they_name(unix_rig: Rig) -> None:
    unix_rig.doors.doors[INSTANCE] = door(unix_rig.engine.port, Hold("c1", 4))
    unix_rig.routes.table["tiny"] = replace(unix_rig.route(), claim="c1", fence=4)
    assert (await ask(unix_rig.port, chat(), x_arw_claim="c1")).status == 200
    async with talking(unix_rig.port) as talk:
        talk.ask("POST", CHAT, chat(), authorization=f"{TOKEN}~c2")
        assert (await talk.reply()).status == 200
    assert unix_rig.routes.claims == ["c1", "c2"]
    assert not any(name.startswith(b"x-arw") for asked in unix_rig.engine.requests for name, _ in asked.headers)


async def test_a_route_is_in_use_until_its_request_is_over_however_that_ends(unix_rig: Rig) -> None:
    routes = unix_rig.routes
    assert (await ask(unix_rig.port, chat())).status == 200
    assert (await ask(unix_rig.port, chat(tokens=10, break_after=4))).status == 200
    unix_rig.doors.doors[INSTANCE] = door(unix_rig.engine.port, Hold("system", 2))
    assert (await ask(unix_rig.port, chat())).status == 403
    assert routes.given == 0
    unix_rig.doors.doors[INSTANCE] = door(unix_rig.engine.port)
    async with talking(unix_rig.port) as talk:
        talk.ask("POST", CHAT, chat(tokens=10_000, interval_ms=20), authorization=TOKEN)
        await until(lambda: len(unix_rig.engine.requests) == 3)
        assert routes.given == 1
    await until(lambda: routes.given == 0)


async def test_an_instance_that_does_not_serve_is_refused_with_when_to_retry(unix_rig: Rig) -> None:
    unix_rig.doors.doors.clear()
    reply = await ask(unix_rig.port, chat())
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")


async def test_an_engine_that_breaks_in_its_answer_is_seen_as_a_stream_that_ends_in_an_error(rig: Rig) -> None:
    reply = await ask(rig.port, chat(tokens=10, break_after=4))
    assert reply.status == 200
    told = last_event(reply)["error"]
    assert (told["type"], told["code"], told["remedy"]) == ("server_error", "engine_broke", "Send the request again.")
    assert b"[DONE]" not in reply.raw
    before = reply.raw.partition(b'data: {"error"')[0].rpartition(b"\n\n\r\n")[0]
    assert stream_body(10).startswith(before)
    exchange = await rig.meter.next()
    assert (exchange.complete, exchange.abandoned) == (False, False)


async def test_an_engine_that_breaks_in_the_middle_of_an_event_is_seen_as_a_broken_connection(unix_rig: Rig) -> None:
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    asking = asyncio.create_task(ask(unix_rig.port, chat(raw=f"{head}9\r\ndata: {{")))
    await until(lambda: bool(unix_rig.engine.requests))
    unix_rig.engine.kill()
    reply = await asking
    assert (reply.whole, b"error" in reply.raw) == (False, False)


async def test_an_engine_that_breaks_before_its_first_byte_is_a_bad_gateway(unix_rig: Rig) -> None:
    async with talking(unix_rig.port) as talk:
        talk.ask("POST", CHAT, chat(delay_ms=60_000), authorization=TOKEN)
        await until(lambda: bool(unix_rig.engine.requests))
        unix_rig.engine.kill()
        assert (await talk.reply()).status == 502


async def test_an_engine_that_speaks_no_http_is_a_bad_gateway(unix_rig: Rig) -> None:
    reply = await ask(unix_rig.port, chat(garbage=True))
    assert (reply.status, reply.json()["error"]["code"]) == (502, "engine_broke")
    assert (await unix_rig.meter.next()).refused_by_node


async def test_an_error_that_an_engine_answers_comes_through_whole_and_is_its_own(unix_rig: Rig) -> None:
    reply = await ask(unix_rig.port, chat(status=501))
    assert (reply.status, reply.json()["error"]["message"]) == (501, "No.")
    exchange = await unix_rig.meter.next()
    assert (exchange.status, exchange.complete, exchange.refused_by_node) == (501, True, False)


async def test_closing_an_instance_ends_its_requests_before_the_engine_is_signalled(rig: Rig) -> None:
    async with talking(rig.port) as begun, talking(rig.port) as waiting:
        begun.ask("POST", CHAT, chat(tokens=10_000, interval_ms=2), authorization=TOKEN)
        await begun.reader.readuntil(b"tok1")
        waiting.ask("POST", CHAT, chat(delay_ms=60_000), authorization=TOKEN)
        await until(lambda: len(rig.engine.requests) == 2)
        await rig.link.close_instance(INSTANCE)
        await until(lambda: rig.engine.open_connections == 0)
        refused = await waiting.reply()
        assert (refused.status, refused.json()["error"]["code"]) == (503, "stopping")
        rest = await begun.reader.read()
        assert b"[DONE]" not in rest


async def test_two_hundred_streams_at_once_stay_whole_and_apart(rig: Rig) -> None:
    async def one(index: int) -> bool:
        reply = await ask(rig.port, chat(tokens=30, interval_ms=1, seed=f"s{index}-"))
        return reply.raw == stream_body(30, f"s{index}-")

    async with asyncio.TaskGroup() as tasks:
        streams = [tasks.create_task(one(index)) for index in range(200)]
    assert all(stream.result() for stream in streams)


async def test_a_dropped_node_cuts_its_streams_at_once_and_may_come_back(rig: Rig) -> None:
    async with talking(rig.port) as talk:
        talk.ask("POST", CHAT, chat(tokens=10_000, interval_ms=2), authorization=TOKEN)
        await talk.reader.readuntil(b"tok1")
        rig.gateway.drop_node("box")
        rest = await talk.reader.read()
        assert b"[DONE]" not in rest
    await until(lambda: rig.engine.closed_in_answer == 1)
    assert (await ask(rig.port, chat())).status == 200


def elsewhere(rig: Rig) -> None:
    """The model serves on a node that nobody hears of, and on this one."""
    rig.routes.table[MODEL] = Route("nodes/gone/instances/tiny", "gone", "system", 1, MODEL)
    rig.routes.others = [rig.route()]


async def test_a_request_that_its_node_does_not_take_goes_where_it_serves_as_well(unix_rig: Rig) -> None:
    elsewhere(unix_rig)
    reply = await ask(unix_rig.port, chat())
    assert (reply.status, reply.raw) == (200, (await ask(unix_rig.port, chat())).raw)
    assert (await unix_rig.meter.next()).route == unix_rig.route()


async def test_a_request_whose_node_is_lost_goes_elsewhere_at_once(unix_rig: Rig) -> None:
    elsewhere(unix_rig)
    async with talking(unix_rig.port) as talk:
        talk.ask("POST", CHAT, chat(), authorization=TOKEN)
        await until(lambda: ("gone", 9) in unix_rig.demand.asked)
        unix_rig.gateway.drop_node("gone")
        assert (await talk.reply()).status == 200


async def test_what_a_node_refuses_is_asked_for_where_it_serves_as_well(unix_rig: Rig) -> None:
    unix_rig.routes.table[MODEL] = Route("nodes/box/instances/unknown", NODE, "system", 1, MODEL)
    unix_rig.routes.others = [unix_rig.route()]
    reply = await ask(unix_rig.port, chat())
    assert reply.status == 200
    assert [each.refused_by_node for each in unix_rig.meter.exchanges] == [True, False]


async def test_an_engine_that_breaks_before_it_answers_is_left_for_another(unix_rig: Rig) -> None:
    other = InstanceName("nodes/box/instances/other")
    unix_rig.doors.doors[other] = door(unix_rig.engine.port)
    unix_rig.routes.others = [Route(other, NODE, "system", 1, MODEL)]
    reply = await ask(unix_rig.port, chat(garbage=True))
    assert (reply.status, reply.json()["error"]["code"]) == (502, "engine_broke")
    assert len(unix_rig.engine.requests) == 2


async def test_a_client_that_does_not_read_holds_the_engine_back(rig: Rig) -> None:
    mib = 1024 * 1024
    async with talking(rig.port) as talk:
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        talk.ask("POST", CHAT, chat(flood_mib=256), authorization=TOKEN)
        await until(lambda: bool(rig.engine.connections) and rig.engine.connections[0].sent > mib)
        before = -1
        while before != rig.engine.connections[0].sent:
            before = rig.engine.connections[0].sent
            await asyncio.sleep(0.1)
        assert before < 48 * mib
        talk.writer.transport.resume_reading()  # type: ignore[attr-defined]
        received = 0
        while piece := await talk.reader.read(mib):
            received += len(piece)
            if piece.endswith(b"0\r\n\r\n"):
                break
    assert received > 256 * mib


async def test_more_requests_than_parked_connections_make_the_node_park_more(unix_rig: Rig) -> None:
    async with asyncio.TaskGroup() as tasks:
        replies = [tasks.create_task(ask(unix_rig.port, chat(delay_ms=50))) for _ in range(40)]
    assert {reply.result().status for reply in replies} == {200}
    assert unix_rig.demand.asked


@pytest.mark.parametrize("body", [b'{"model": ', b"[]", b'{"model": 5}', b'{"model":"tiny","x":"\xff"}', b"{}", b""])
async def test_a_body_that_is_no_request_is_refused_before_any_node(unix_rig: Rig, body: bytes) -> None:
    reply = await ask(unix_rig.port, body)
    assert reply.status == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert not unix_rig.meter.exchanges
