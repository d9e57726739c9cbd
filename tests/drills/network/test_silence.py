"""Cuts of the network between a control plane and a node: whatever happens, the engine runs on."""

from __future__ import annotations

import http.client
import json
import time
from functools import partial

import pytest

from arw.v1.instance_pb2 import INSTANCE_STATE_READY, INSTANCE_STATE_UNKNOWN
from arw.v1.node_pb2 import NODE_STATE_OFFLINE, NODE_STATE_ONLINE
from tests.fakes.patience import SLACK
from tests.fakes.processes import until
from tests.fakes.proxied_site import ProxiedSite
from tests.fakes.unruly_proxy import Way

pytestmark = pytest.mark.timeout(90)
SHORT_CUT_S = 1.0
"""A tenth of ten seconds: less than three heartbeats."""
LONG_CUT_S = 17.0
"""More than a tenth of two minutes, and more than the transport's own pings survive."""


def now(site: ProxiedSite) -> tuple[int, int]:
    """(session epoch, engine pid)."""
    return int(site.agent.link()["session_epoch"]), int(site.instance().process.engine_pid)


def asked(site: ProxiedSite) -> int:
    """The status of a chat through the gateway."""
    token = json.loads((site.folder / "context.json").read_text())["token"]
    connection = http.client.HTTPConnection("127.0.0.1", site.ports["http"], timeout=10)
    body = json.dumps({"model": "r1", "messages": []})
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def untouched(site: ProxiedSite, pid: int) -> None:
    """The same engine serves, and was started once."""
    assert site.until_instance(INSTANCE_STATE_READY).process.engine_pid == pid
    assert site.starts == [str(pid)]
    until(lambda: asked(site) == 200)
    assert site.agent.process
    assert site.agent.process.poll() is None


def test_f9_a_short_silence_changes_nothing(serving: ProxiedSite) -> None:
    site = serving
    epoch, pid = now(site)
    turns = site.node_turns()
    site.proxy.silence()
    time.sleep(SHORT_CUT_S)
    site.proxy.heal()
    time.sleep(3 * SHORT_CUT_S)
    assert site.agent.link()["state"] == "in_sync"
    assert site.agent.link()["session_epoch"] == epoch
    assert site.node_turns() == turns
    untouched(site, pid)


def test_f10_a_long_silence_withdraws_the_endpoint_and_touches_no_engine(serving: ProxiedSite) -> None:
    site = serving
    epoch, pid = now(site)
    site.proxy.silence()
    cut = time.monotonic()
    site.until_node(NODE_STATE_OFFLINE)
    assert time.monotonic() - cut < 6 * SLACK
    assert site.instance().state == INSTANCE_STATE_UNKNOWN
    assert asked(site) == 503
    link = site.agent.until_link("disconnected")
    time.sleep(max(0.0, LONG_CUT_S - (time.monotonic() - cut)))
    assert site.agent.link()["since"] == link["since"]
    assert site.instance().state == INSTANCE_STATE_UNKNOWN
    site.proxy.heal()
    healed = time.monotonic()
    site.agent.until_link("in_sync", epoch + 1)
    site.until_node(NODE_STATE_ONLINE)
    assert time.monotonic() - healed < 15 * SLACK
    untouched(site, pid)


def test_f13_an_agent_that_hears_nothing_leaves_by_itself(serving: ProxiedSite) -> None:
    site = serving
    epoch, pid = now(site)
    heard, told = site.proxy.passed(Way.UP), len(site.agent.log)
    site.proxy.silence(Way.DOWN)
    cut = time.monotonic()
    site.agent.until_link("disconnected")
    assert time.monotonic() - cut < 5 * SLACK
    assert "Heartbeats stayed unanswered." in site.agent.log[told:]
    # Until then the control plane heard it well.
    assert site.proxy.passed(Way.UP) > heard
    site.proxy.heal()
    site.agent.until_link("in_sync", epoch + 1)
    untouched(site, pid)


def test_f14_a_node_that_is_not_heard_is_offline_and_notices(serving: ProxiedSite) -> None:
    site = serving
    epoch, pid = now(site)
    site.proxy.silence(Way.UP)
    cut = time.monotonic()
    site.until_node(NODE_STATE_OFFLINE)
    site.agent.until_link("disconnected")
    assert time.monotonic() - cut < 15 * SLACK
    assert site.instance().state == INSTANCE_STATE_UNKNOWN
    site.proxy.heal()
    site.agent.until_link("in_sync", epoch + 1)
    site.until_node(NODE_STATE_ONLINE)
    untouched(site, pid)


def test_a_half_closed_and_a_reset_and_a_refused_connection_are_all_come_back_from(serving: ProxiedSite) -> None:
    site = serving
    epoch, pid = now(site)
    for harm in (partial(site.proxy.half_close, Way.DOWN), partial(site.proxy.half_close, Way.UP), site.proxy.reset):
        harm()
        epoch = site.agent.until_link("in_sync", epoch + 1)["session_epoch"]
    site.proxy.refuse()
    site.proxy.reset()
    site.agent.until_link("disconnected")
    site.proxy.heal()
    site.agent.until_link("in_sync", epoch + 1)
    untouched(site, pid)


def test_a_slow_path_is_no_dead_path(serving: ProxiedSite) -> None:
    site = serving
    epoch, pid = now(site)
    site.proxy.delay(0.3)
    time.sleep(4)
    assert (site.agent.link()["state"], site.agent.link()["session_epoch"]) == ("in_sync", epoch)
    untouched(site, pid)
