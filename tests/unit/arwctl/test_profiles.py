from __future__ import annotations

import json
from pathlib import Path

import pytest

from arw.v1 import runtime_pb2
from arw.v1 import runtime_service_pb2 as pb
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import EVIL, Arwctl

SILENT = pb.RuntimeProfile(
    name="silent",
    description="Quiet",
    intents=[
        pb.ProfileIntent(key="settings.slots", value="1"),
        pb.ProfileIntent(key="accelerator", value='"gpu_cuda"'),
    ],
)
BAD = pb.RuntimeProfile(name="bad", source=f"/etc/{EVIL}bad.toml")
BAD.problem.text = "/etc/bad.toml is refused: line 2: flag: is not known."
BAD.problem.remedy = "Correct the profile."
CHAT = runtime_pb2.Runtime(name="runtimes/chat", id="chat", spec=runtime_pb2.RuntimeSpec(adapter="piper"))


@pytest.fixture
def context(state: Path, api: OperatorApi) -> tuple[str, Path]:
    api.runtimes.append(CHAT)
    api.profiles.profiles.extend([BAD, SILENT])
    return "--context", state / "context.json"


async def test_profiles_are_listed_with_what_they_say_and_what_is_wrong(run: Arwctl, context: tuple[str, Path]) -> None:
    said = await run("runtime", "profile", "list", *context)
    head, bad, silent = said.out.splitlines()
    assert head.split() == ["PROFILE", "SAYS", "FROM", "FOR"]
    assert "line 2: flag: is not known" in bad
    assert silent.split() == ["silent", "slots=1,", 'accelerator="gpu_cuda"', "shipped", "Quiet"]
    assert not set("\x1b\x07\u202e") & set(said.out)


async def test_one_profile_is_shown_key_by_key(run: Arwctl, context: tuple[str, Path]) -> None:
    said = await run("runtime", "profile", "show", "silent", *context)
    assert said.out == 'silent: Quiet (shipped)\n  settings.slots = 1\n  accelerator = "gpu_cuda"\n'
    said = await run("runtime", "profile", "show", "bad", *context)
    assert "cannot be used: /etc/bad.toml is refused" in said.out
    said = await run("runtime", "profile", "show", "fast", *context)
    assert (said.code, "Choose one of bad, silent" in said.err) == (1, True)
    said = await run("runtime", "profile", "show", "silent", "-o", "json", *context)
    assert json.loads(said.out)["intents"][0] == {"key": "settings.slots", "value": "1"}


async def test_a_profile_is_set_and_taken_away(run: Arwctl, context: tuple[str, Path], api: OperatorApi) -> None:
    said = await run("runtime", "profile", "set", "chat", "silent", *context)
    assert said.out == "chat: profile silent, as arwctl runtime explain says\n"
    said = await run("runtime", "profile", "clear", "chat", *context)
    assert said.out.startswith("chat: no profile")
    assert [(call.name, call.profile) for call in api.calls] == [("runtimes/chat", "silent"), ("runtimes/chat", "")]


async def test_an_explanation_says_each_value_and_whose_word_it_is(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    word = pb.IntentWord(source=pb.INTENT_SOURCE_MANIFEST, source_name=f"fleet{EVIL}.toml", value="4")
    over = pb.IntentWord(source=pb.INTENT_SOURCE_PROFILE, source_name="balanced", value="2")
    rule = pb.IntentWord(source=pb.INTENT_SOURCE_TUNING, value="8", reason="8 cores")
    api.explanation = pb.ExplainRuntimeResponse(
        runtime=CHAT,
        intents=[
            pb.IntentChoice(key="settings.slots", word=word, over=[over]),
            pb.IntentChoice(key="settings.threads", word=rule),
        ],
        unsaid_intents=["settings.batch_size"],
    )
    said = await run("runtime", "explain", "chat", *context)
    lines = said.out.splitlines()
    assert lines[1].startswith("  settings.slots = 4 (manifest fleet")
    assert lines[1].endswith(".toml; not 2, profile balanced)")
    assert lines[2:] == [
        "  settings.threads = 8 (tuning: 8 cores)",
        "  not said: settings.batch_size (piper has no word for it)",
    ]
    assert not set("\x1b\x07\u202e") & set(said.out)
