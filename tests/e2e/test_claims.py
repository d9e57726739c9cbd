"""Claims through real processes: OpenAI's own client under one, and a node that dies under another."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from arwctl.tiny_model import SENTENCE
from tests.fakes.world import ARWCTL, World, kill_hard

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

PROGRAM = """
import os, sys, time
import openai

def asked(client):
    messages = [{"role": "user", "content": "hello"}]
    return client.chat.completions.create(model="tiny-chat", messages=messages).choices[0].message.content

print(os.environ["ARW_CLAIM"], flush=True)
claimed = openai.OpenAI(max_retries=50)
print(asked(claimed), flush=True)
others = openai.OpenAI(api_key=claimed.api_key.partition("~")[0], max_retries=0)
code = ""
while code != "runtime_claimed":
    try:
        code = asked(others)
    except openai.APIStatusError as error:
        code = error.code
    time.sleep(0.1)
print(code, flush=True)
sys.stdin.readline()
print(asked(claimed), flush=True)
sys.exit(5)
"""


def test_openai_s_client_has_a_runtime_alone_also_after_the_control_plane_was_killed(world: World) -> None:
    world.up()
    world.apply()
    world.done("project", "create", "team-a")
    words = ("claim", "exec", "-m", "tiny-chat", "-p", "team-a", "--exclusive", "--max-disruption", "5m", "--")
    with subprocess.Popen(
        [ARWCTL, *words, sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=world.environment(),
    ) as process:
        assert process.stdout is not None
        claim, *first = [process.stdout.readline().strip() for _ in range(3)]
        assert first == [SENTENCE, "runtime_claimed"]
        kill_hard(world.status()["supervisor"]["control_plane_pid"])
        world.up()
        last, _ = process.communicate("go on\n", timeout=200)
    assert (last.strip(), process.returncode) == (SENTENCE, 5)
    found = json.loads(world.done("claim", "show", claim, "-o", "json"))
    assert (found["state"], found["project"]) == ("released", "projects/team-a")
    (key,) = json.loads(world.done("project", "key", "list", "team-a", "-o", "json"))
    assert key["revoke_time"], "made for the program, it ended with it"
    assert world.chat() == SENTENCE, "it is free for others again"


def test_a_claim_outlives_its_node_by_its_fallback(world: World) -> None:
    said = world.arwctl("demo", "claims", timeout_s=240)
    assert said.code == 0, said.out + said.err
    assert said.out.splitlines()[-1] == "demo: ok"
    steps = ("the answer ended after", "runtime.claim.suspended", "runtime.fallback.engaged", SENTENCE)
    places = [said.out.find(step) for step in steps]
    assert places == sorted(places)
    assert places[0] > 0, said.out
