"""What transcription requests look like, and their answers: whisper-server's, which are OpenAI's too."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from node_agent.runtimes.fronts.whisper_engine import Segment, Transcript, Wanted, knows

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
HOTTEST = 1.0
MAX_PROMPT_CHARACTERS = 4096
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition:\s*form-data;\s*name="([^"]*)"', re.IGNORECASE)


class BadForm(Exception):  # noqa: N818 - the sender's fault, not ours
    """What is wrong, and what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Asked:
    file: bytes
    wanted: Wanted
    format: str


def asked(content_type: str, body: bytes, default: Wanted) -> Asked:
    """BadForm when it cannot be done."""
    parts = _parts(content_type, body)
    if "file" not in parts:
        raise BadForm("The form has no field 'file'.", "Send the audio as a file in the field 'file'.")
    fields = {name: content.decode(errors="replace").strip() for name, content in parts.items() if name != "file"}
    wanted = Wanted(
        language=_language(fields.get("language") or default.language),
        translate=_truth(fields["translate"]) if "translate" in fields else default.translate,
        temperature=_temperature(fields.get("temperature") or "0"),
        prompt=fields.get("prompt", "")[:MAX_PROMPT_CHARACTERS].replace("\0", ""),
    )
    return Asked(parts["file"], wanted, _format(fields.get("response_format") or "json"))


def _parts(content_type: str, body: bytes) -> Mapping[str, bytes]:
    """The content of each named part; the first of each name counts."""
    boundary = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or boundary is None:
        raise BadForm("The request is no form.", "Send multipart/form-data with its boundary.")
    delimiter = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1")
    _, *pieces = (b"\r\n" + body).split(delimiter)
    if not pieces or not pieces[-1].startswith(b"--"):
        raise BadForm("The form is incomplete.", "Send it whole, with its closing boundary.")
    found: dict[str, bytes] = {}
    for piece in pieces[:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name is not None:
            found.setdefault(name[1].decode(errors="replace"), content)
    return found


def _language(language: str) -> str:
    if not knows(language.lower()):
        raise BadForm(f"The language {language[:40]!r} is not known.", 'Use a code such as "en", or "auto".')
    return language.lower()


def _truth(text: str) -> bool:
    return text.lower() in {"true", "1", "yes", "on"}


def _temperature(text: str) -> float:
    try:
        temperature = float(text)
    except ValueError:
        temperature = -1.0
    if not 0 <= temperature <= HOTTEST:
        raise BadForm(f"The temperature {text[:40]!r} is no number from 0 to 1.", "Leave it out, or send 0.")
    return temperature


def _format(name: str) -> str:
    if name not in FORMATS:
        raise BadForm(f"The response format {name[:40]!r} is not known.", f"Use one of: {', '.join(FORMATS)}.")
    return name


def answer(heard: Transcript, form: str) -> tuple[str, bytes]:
    """Content type and body."""
    match form:
        case "text":
            return "text/plain; charset=utf-8", heard.text.encode()
        case "srt":
            return "application/x-subrip", "\n".join(map(_subrip, range(1, 1 << 31), heard.segments)).encode()
        case "vtt":
            return "text/vtt", "\n".join(["WEBVTT\n", *map(_cue, heard.segments)]).encode()
        case "verbose_json":
            return "application/json", json.dumps(_verbose(heard)).encode()
        case _:
            return "application/json", json.dumps({"text": heard.text}).encode()


def _subrip(number: int, segment: Segment) -> str:
    return f"{number}\n{_time(segment.start_ms, ',')} --> {_time(segment.end_ms, ',')}\n{segment.text.strip()}\n"


def _cue(segment: Segment) -> str:
    return f"{_time(segment.start_ms, '.')} --> {_time(segment.end_ms, '.')}\n{segment.text.strip()}\n"


def _time(milliseconds: int, point: str) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _verbose(heard: Transcript) -> Mapping[str, object]:
    segments = [
        {"id": number, "start": segment.start_ms / 1000, "end": segment.end_ms / 1000, "text": segment.text}
        for number, segment in enumerate(heard.segments)
    ]
    task = "translate" if heard.translated else "transcribe"
    return {
        "task": task, "language": heard.language, "duration": heard.seconds, "text": heard.text, "segments": segments
    }  # fmt: skip
