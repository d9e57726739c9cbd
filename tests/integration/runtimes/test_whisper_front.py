"""The wheel's front as a process: what it answers, whom it turns away, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from arwctl.tiny_speech_model import SENTENCE, write
from node_agent.runtimes.kinds.whisper_files import FRONT
from tests.fakes.forms import FORM, upload
from tests.fakes.sounds import wav

pytest.importorskip("_pywhispercpp")

KEY = "the-key"
COMMAND = [sys.executable, "-I", str(FRONT)]
TRANSCRIPTIONS = "/v1/audio/transcriptions"
HEAD = f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: {FORM}\r\n".encode()
PATIENCE_S = 30


@dataclass(frozen=True, slots=True)
class Front:
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, key: str = KEY, content_type: str = FORM
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"authorization": f"Bearer {key}", "content-type": content_type})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def send(self, *parts: bytes) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        made.sendall(b"".join(parts))
        return made

    @property
    def processor_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model") / "tiny.bin")


@contextlib.contextmanager
def running(model: Path, folder: Path) -> Iterator[Front]:
    key_file, log, port = folder / "key", folder / "log", free_port()
    key_file.write_text(f"{KEY}\n")
    options = ["-m", str(model), "--port", str(port), "--api-key-file", str(key_file), "--alias", "demo/tiny"]
    with log.open("wb") as out:
        process = subprocess.Popen([*COMMAND, *options, "--language", "auto"], stdout=out, stderr=subprocess.STDOUT)
    try:
        until(lambda: b"listening at" in log.read_bytes() or process.poll() is not None)
        yield Front(port, process, log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def front(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with running(model, tmp_path_factory.mktemp("front")) as made:
        yield made


@pytest.fixture
def own_front(model: Path, tmp_path: Path) -> Iterator[Front]:
    with running(model, tmp_path) as made:
        yield made


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, "/inference"])
def test_it_hears_the_sentence_of_the_tiny_model(front: Front, path: str) -> None:
    status, headers, body = front.ask("POST", path, upload(wav(3.0)))
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"text": f" {SENTENCE}\n"}


def test_sound_of_another_rate_with_two_channels_is_heard_too(front: Front) -> None:
    sound = wav(31.0, rate=44_100, channels=2, width=3)
    _, _, body = front.ask("POST", TRANSCRIPTIONS, upload(sound, response_format="verbose_json"))
    heard = json.loads(body)
    assert (heard["duration"], heard["language"], len(heard["segments"])) == (31.0, "en", 2)


def test_sound_of_no_length_has_no_words_not_even_those_of_the_request_before(front: Front) -> None:
    assert front.ask("POST", TRANSCRIPTIONS, upload(wav(1.0)))[0] == 200
    assert json.loads(front.ask("POST", TRANSCRIPTIONS, upload(wav(0.05)))[2]) == {"text": ""}
    assert json.loads(front.ask("POST", TRANSCRIPTIONS, upload(wav(0)))[2]) == {"text": ""}


def test_health_is_open_and_all_else_needs_the_key(front: Front) -> None:
    assert front.ask("GET", "/health", key="")[::2] == (200, b'{"status": "ok"}')
    assert front.ask("GET", "/v1/models")[0] == 200
    assert json.loads(front.ask("GET", "/v1/models")[2])["data"][0]["id"] == "demo/tiny"
    for key in ("", "wrong", KEY + "x", "\xff"):
        assert front.ask("GET", "/v1/models", key=key)[0] == 401
        status, _, body = front.ask("POST", TRANSCRIPTIONS, upload(wav(1.0)), key=key)
        assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_key")


@pytest.mark.parametrize(
    ("body", "content_type", "why"),
    [
        (upload(b"no sound"), FORM, "no WAV file"),
        (upload(wav(1.0), language="klingon"), FORM, "klingon"),
        (upload(wav(1.0))[:-30], FORM, "incomplete"),
        (b'{"file": 1}', "application/json", "no form"),
        (b"", FORM, "incomplete"),
    ],
)
def test_what_it_cannot_do_is_refused_with_a_remedy(front: Front, body: bytes, content_type: str, why: str) -> None:
    status, _, said = front.ask("POST", TRANSCRIPTIONS, body, content_type=content_type)
    error = json.loads(said)["error"]
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert why in error["message"]
    assert error["remedy"]


def test_unknown_paths_and_requests_without_a_sane_length_are_refused(front: Front) -> None:
    assert front.ask("POST", "/load", upload(b"/etc/passwd"))[0] == 404
    assert front.ask("GET", "/")[0] == 404
    for line, status in (
        (b"", b"411"),
        (b"content-length: -1\r\n", b"411"),
        (b"content-length: 99999999999999\r\n", b"413"),
    ):
        with front.send(HEAD, line, b"\r\n") as made:
            assert made.recv(4096).split()[1] == status


def test_requests_beyond_its_places_are_turned_away_until_one_is_free(own_front: Front) -> None:
    head = HEAD + b"content-length: 9\r\n\r\n"
    short = upload(wav(0.2))
    holding = [own_front.send(head) for _ in range(8)]

    def full() -> bool:
        """One more each time: who asks may have had the place that the last one came for."""
        holding.append(own_front.send(head))
        return own_front.ask("POST", TRANSCRIPTIONS, short)[0] == 503

    until(full)
    _, headers, body = own_front.ask("POST", TRANSCRIPTIONS, short)
    assert (headers["retry-after"], json.loads(body)["error"]["code"]) == ("2", "busy")
    for one in holding:
        one.close()
    until(lambda: own_front.ask("POST", TRANSCRIPTIONS, short)[0] == 200)


def begin_long(front: Front) -> socket.socket:
    """Five minutes of sound, when some of them are computed."""
    body = upload(wav(300.0))
    before = front.processor_s
    made = front.send(HEAD, b"content-length: %d\r\n\r\n" % len(body), body)
    until(lambda: front.processor_s > before + 0.5)
    return made


def test_who_leaves_is_worked_for_no_longer(own_front: Front) -> None:
    begin_long(own_front).close()
    assert own_front.ask("POST", TRANSCRIPTIONS, upload(wav(1.0)))[0] == 200
    assert "transcribed 1.0 s" in own_front.log.read_text()
    assert "transcribed 300.0 s" not in own_front.log.read_text()


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_on_sigterm_with_status_zero(own_front: Front, busy: bool) -> None:
    with begin_long(own_front) if busy else contextlib.nullcontext():
        own_front.process.send_signal(signal.SIGTERM)
        assert own_front.process.wait(PATIENCE_S) == 0


def test_neither_key_nor_words_show_in_its_log(front: Front) -> None:
    front.ask("POST", TRANSCRIPTIONS, upload(wav(1.0), prompt="a private word"))
    log = front.log.read_text()
    assert "transcribed 1.0 s" in log
    assert not [word for word in (KEY, "private", "speech.wav", "tiny whisper model always") if word in log]


def refused(*options: str) -> tuple[int, str]:
    said = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return said.returncode, said.stderr


def test_what_it_was_started_with_in_vain_is_named(front: Front, model: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.bin"
    half.write_bytes(model.read_bytes()[:2_000_000])
    assert refused("--convert") == (1, "error: unknown argument: --convert\n")
    assert "--model is missing" in refused()[1]
    code, said = refused("-m", str(model), "-l", "klingon")
    assert (code, said.splitlines()[-1]) == (1, "error: unknown language 'klingon'")
    for path in (half, tmp_path / "none.bin"):
        code, said = refused("-m", str(path))
        assert code == 3
        assert "failed to initialize whisper context" in said
    code, said = refused("-m", str(model), "--port", str(front.port), "--no-warmup")
    assert code == 1
    assert "couldn't bind to server socket" in said
