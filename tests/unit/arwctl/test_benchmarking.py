from __future__ import annotations

from typing import Any

import pytest

from arw_client import ArwError
from arwctl.benchmarking import Run, asked, run_of, summary

TIMINGS = {"prompt_n": 200, "prompt_ms": 400.0, "predicted_n": 50, "predicted_ms": 1000.0}


def test_speeds_are_those_of_the_engines_own_clock() -> None:
    assert run_of({"timings": TIMINGS, "usage": {}}) == Run(200, 500.0, 50, 50.0)


@pytest.mark.parametrize("answer", [{}, {"timings": None}, {"timings": TIMINGS | {"predicted_ms": 0}}])
def test_an_engine_that_does_not_say_how_long_it_took_is_not_guessed_at(answer: dict[str, Any]) -> None:
    with pytest.raises(ArwError, match="nothing is guessed") as caught:
        run_of(answer)
    assert caught.value.remedy


def test_the_middle_run_counts() -> None:
    found = summary("chat", [Run(1, 9.0, 1, 3.0), Run(1, 7.0, 1, 1.0), Run(1, 8.0, 1, 2.0)])
    assert (found["prompt_tokens_per_second"], found["generated_tokens_per_second"]) == (8.0, 2.0)
    assert len(found["runs"]) == 3


def test_no_two_prompts_begin_alike_and_replies_are_bounded() -> None:
    one, other = (asked("chat", 64) for _ in range(2))
    assert one.messages != other.messages
    assert one.options["max_tokens"] == 64
