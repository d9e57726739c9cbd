"""Speech on real processes: a WAV goes through the gateway to a real whisper.cpp and comes back as words."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from arwctl import tiny_speech_model
from arwctl.local.demo_kinds import SUBJECTS, DemoKind
from arwctl.tiny_speech_model import SENTENCE
from tests.fakes.forms import FORM, upload
from tests.fakes.sounds import wav
from tests.fakes.world import World

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_spec("_pywhispercpp") is None, reason="no whisper.cpp: install arw[whisper]"),
]
NAME = "tiny-whisper"


def test_the_demo_of_audio_ends_with_its_last_line_and_leaves_nothing(world: World) -> None:
    said = world.arwctl("demo", "audio", timeout_s=240)
    assert said.code == 0, said.out + said.err
    assert said.out.splitlines()[-1] == "demo: ok"
    assert said.out.count(SENTENCE) == 2
    assert not world.state.exists(), "the demo has a state directory of its own"


@pytest.fixture
def sound(world: World) -> Path:
    """Longer than one window, with a rate and channels that need converting."""
    file = world.folder / "sound.wav"
    file.write_bytes(wav(31.0, rate=22_050, channels=2))
    return file


def serve(world: World) -> None:
    world.up()
    tiny_speech_model.write(world.folder / f"{NAME}.bin")
    manifest = world.folder / f"{NAME}.toml"
    manifest.write_text(SUBJECTS[DemoKind.AUDIO].manifest)
    world.done("runtime", "apply", "-f", manifest, "--wait")


def test_a_recording_is_written_down_in_every_form_and_a_chat_is_refused(world: World, sound: Path) -> None:
    serve(world)
    assert world.done("transcribe", "-m", NAME, sound).splitlines() == [SENTENCE, SENTENCE]
    assert "00:00:30,000 --> 00:01:00,000" in world.done("transcribe", "-m", NAME, sound, "-o", "srt")
    whole = json.loads(world.done("transcribe", "-m", NAME, sound, "-o", "json", "--language", "en"))
    assert (whole["duration"], whole["language"]) == (31.0, "en")
    refused = world.arwctl("chat", "-m", NAME, "hello")
    assert refused.code == 1
    assert "'tiny-whisper' cannot answer text" in refused.err
    assert "No declared runtime can." in refused.err
    (world.folder / "text.wav").write_text("This is no sound.")
    refused = world.arwctl("transcribe", "-m", NAME, world.folder / "text.wav")
    assert refused.code == 1
    assert "no WAV file" in refused.err
    assert "next:  Send a WAV file" in refused.err
    for path in ("/v1/audio/translations", "/tools/audio.transcribe"):
        assert written_down(world, path) == {"text": f" {SENTENCE}\n"}


def written_down(world: World, path: str) -> object:
    context = json.loads((world.state / "context.json").read_text())
    host = context["http_url"].removeprefix("http://")
    with closing(http.client.HTTPConnection(host, timeout=30)) as connection:
        headers = {"authorization": f"Bearer {context['token']}", "content-type": FORM}
        connection.request("POST", path, upload(wav(1.0), NAME), headers)
        answer = connection.getresponse()
        assert answer.status == 200
        return json.load(answer)
