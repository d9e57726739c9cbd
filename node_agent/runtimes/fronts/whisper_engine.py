"""whisper.cpp through the pywhispercpp wheel: one model, one decode at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import _pywhispercpp as library
import numpy as np

from node_agent.runtimes.fronts.whisper_audio import RATE, Samples

AUTO = "auto"
ENGLISH = "en"
BEST_OF = 2
SEGMENT_CHARACTERS = 60
_ERROR_LEVEL = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one request asks for."""

    language: str
    """Code or English name; "auto": whichever is heard."""
    translate: bool = False
    temperature: float = 0.0
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    start_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    language: str
    """Code."""
    translated: bool
    seconds: float
    """Of sound."""
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """A line for each segment, as whisper-server gives it."""
        return "".join(f"{segment.text}\n" for segment in self.segments)


class ModelUnusable(Exception):  # noqa: N818 - a finding about a file; the library has told why
    """The library could not load it."""


class Abandoned(Exception):  # noqa: N818 - nobody wants the answer any more
    """The decode was ended early."""


def knows(language: str) -> bool:
    return language == AUTO or library.whisper_lang_id(language) >= 0


class Engine:
    """Not for two threads at once."""

    def __init__(self, model: str, *, threads: int, device: int | None) -> None:
        """`device`: number of the GPU to use, None for none. Blocks while the model is read; ModelUnusable."""
        self._threads = threads
        how = library.whisper_context_default_params()
        how.use_gpu = device is not None
        how.gpu_device = device or 0
        self._context = _loaded(model, how)
        self.multilingual = bool(library.whisper_is_multilingual(self._context))

    def warm_up(self) -> None:
        """Hear a second of silence, so that who is told it is ready knows that it works. RuntimeError: it does not."""
        self.transcribe(np.zeros(RATE, np.float32), Wanted(ENGLISH), lambda: False)

    def transcribe(self, heard: Samples, wanted: Wanted, unwanted: Callable[[], bool]) -> Transcript:
        """Asks `unwanted` between the steps of the computation; Abandoned once it says so. RuntimeError: it failed."""
        how = self._how(wanted)
        if not heard.size:
            # The library would hear the sound of the request before once more.
            return Transcript(how.language, how.translate, 0.0, ())
        library.assign_abort_callback(how, unwanted)
        if library.whisper_full(self._context, how, heard, heard.size):
            if unwanted():
                raise Abandoned
            raise RuntimeError("whisper.cpp failed to process the audio")
        return Transcript(
            language=library.whisper_lang_str(library.whisper_full_lang_id(self._context)),
            translated=how.translate,
            seconds=heard.size / RATE,
            segments=tuple(self._segment(number) for number in range(library.whisper_full_n_segments(self._context))),
        )

    def _how(self, wanted: Wanted) -> Any:
        how = library.whisper_full_default_params(library.whisper_sampling_strategy.WHISPER_SAMPLING_GREEDY)
        how.print_progress = False
        how.n_threads = self._threads
        how.greedy = {"best_of": BEST_OF}
        how.token_timestamps, how.max_len = True, SEGMENT_CHARACTERS
        how.language = wanted.language if self.multilingual else ENGLISH
        how.translate = wanted.translate and self.multilingual
        how.temperature = wanted.temperature
        how.initial_prompt = wanted.prompt
        return how

    def _segment(self, number: int) -> Segment:
        """The library counts in hundredths of a second."""
        start, end = library.whisper_full_get_segment_t0, library.whisper_full_get_segment_t1
        text: bytes = library.whisper_full_get_segment_text(self._context, number)
        return Segment(
            start(self._context, number) * 10, end(self._context, number) * 10, text.decode(errors="replace")
        )


def _loaded(model: str, how: Any) -> Any:
    """The wheel gives no sign of a failed load but its log, and using what it gives then ends the process."""
    failed = False

    def tell(level: int, text: str) -> None:
        nonlocal failed
        failed = failed or level == _ERROR_LEVEL
        sys.stderr.write(text)

    library.whisper_log_set(tell)
    context = library.whisper_init_from_file_with_params(model, how)
    library.whisper_log_set(None)
    if failed:
        raise ModelUnusable
    return context
