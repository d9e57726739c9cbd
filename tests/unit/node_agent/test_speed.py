"""How fast an engine is for one request alone."""

from __future__ import annotations

from dataclasses import replace

from node_agent.domain.footprint import Speeds
from node_agent.domain.speed import Counted, SpeedMeter

START = Counted(0, 0, 0, 0, 0, 0)


def after(before: Counted, tokens: int, seconds: float, *, prompt: int = 0, reading: float = 0.0) -> Counted:
    """As one request at a time makes it: a step for the prompt, one for each further token."""
    return Counted(
        before.generated_tokens + tokens,
        before.generated_seconds + seconds,
        before.prompt_tokens + prompt,
        before.prompt_seconds + reading,
        before.steps + tokens,
        before.busy + tokens,
    )


def told(*readings: Counted) -> Speeds:
    meter = SpeedMeter()
    return [meter.idle(each) for each in (START, *readings)][-1]


def test_nothing_is_told_before_anything_was_asked() -> None:
    assert told() == Speeds()
    assert told(START) == Speeds()


def test_tokens_over_the_engines_own_time_are_its_speed() -> None:
    assert told(after(START, 200, 20.0, prompt=400, reading=2.0)) == Speeds(10.0, 200.0)


def test_a_few_tokens_wait_for_more() -> None:
    little = after(START, 40, 4.0)
    assert told(little) == Speeds()
    assert told(little, after(little, 40, 4.0)) == Speeds(10.0)


def test_requests_at_the_same_time_tell_nothing_of_one_alone() -> None:
    crowded = replace(after(START, 200, 40.0, prompt=400, reading=2.0), busy=390.0)
    assert told(crowded) == Speeds()
    assert told(crowded, after(crowded, 200, 20.0)) == Speeds(10.0)


def test_many_answers_of_one_token_are_not_taken_for_speed() -> None:
    short = after(START, 1500, 0.001, prompt=30_000, reading=60.0)
    assert told(short) == Speeds(None, 500.0)
    mixed = after(short, 64, 6.4, prompt=20_000, reading=40.0)
    assert told(short, mixed).generated is None
    assert told(short, after(short, 200, 20.0)).generated == 10.0


def test_a_difference_that_six_digits_do_not_show_is_not_believed() -> None:
    old = Counted(9_000_000, 900_000.0, 0, 0, 9_000_000, 9_000_000)
    assert told(old, after(old, 200, 20.0)) == Speeds()
    assert told(old, after(old, 9000, 900.0)) == Speeds(10.0)
