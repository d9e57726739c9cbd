from __future__ import annotations

import asyncio

from wire.byte_pump import Sink, Source, Watchdog


class FakeTransport(asyncio.Transport):
    """Remembers whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True
        self.limit = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limit = high or 0

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def pair() -> tuple[Sink, Source, FakeTransport]:
    sink, source, transport = Sink(), Source(), FakeTransport()
    sink.connection_made(FakeTransport())
    source.connection_made(transport)
    sink.draw_from(source)
    return sink, source, transport


def test_a_source_is_not_read_while_its_sink_is_full() -> None:
    sink, _, transport = pair()
    sink.pause_writing()
    assert not transport.reading
    sink.resume_writing()
    assert transport.reading


def test_a_source_that_joins_a_full_sink_is_held_at_once() -> None:
    sink, source, transport = pair()
    sink.let_go()
    sink.pause_writing()
    sink.draw_from(source)
    assert not transport.reading


def test_a_source_that_is_let_go_is_read_again() -> None:
    sink, source, transport = pair()
    sink.pause_writing()
    assert sink.let_go() is source
    assert transport.reading
    sink.resume_writing()


async def test_a_watchdog_barks_once_after_its_last_deadline() -> None:
    barks: list[float] = []
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def bark() -> None:
        barks.append(loop.time())
        done.set()

    watchdog = Watchdog(bark)
    watchdog.within(0.01)
    watchdog.within(0.05)
    begun = loop.time()
    await done.wait()
    assert len(barks) == 1
    assert barks[0] - begun >= 0.045


async def test_a_deadline_may_come_nearer() -> None:
    done = asyncio.Event()
    watchdog = Watchdog(done.set)
    watchdog.within(60)
    watchdog.within(0.01)
    async with asyncio.timeout(5):
        await done.wait()


async def test_a_resting_or_stopped_watchdog_is_silent() -> None:
    barks: list[int] = []
    resting, stopped = Watchdog(lambda: barks.append(1)), Watchdog(lambda: barks.append(2))
    resting.within(0.01)
    stopped.within(0.01)
    resting.rest()
    stopped.stop()
    await asyncio.sleep(0.03)
    assert not barks
