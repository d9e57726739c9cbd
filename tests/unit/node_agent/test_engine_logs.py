import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from node_agent.runtimes.logs import CHUNK_BYTES, EngineLogs, Follower, everything, pieces, tail, tail_lines
from node_agent.runtimes.shim import Launch, logs, prune_logs, rotate_log
from node_agent.use_cases.ports import LogChunk
from tests.fakes.instance_specs import NAME


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "demo__tiny"
    home.mkdir()
    return home


def write(folder: Path, name: str, text: str) -> None:
    with (folder / name).open("a") as file:
        file.write(text)


def shim_launch(incarnation: int, log_bytes: int, log_pieces: int) -> Launch:
    launch = Launch.__new__(Launch)
    launch.incarnation, launch.log = incarnation, f"engine.{incarnation}.log"
    launch.log_bytes, launch.log_pieces = log_bytes, log_pieces
    return launch


def told(chunks: Iterable[LogChunk]) -> str:
    return b"".join(chunk.data for chunk in chunks).decode()


def test_pieces_come_in_the_order_they_were_written(folder: Path) -> None:
    for name in ("engine.2.log", "engine.1.2.log", "engine.1.log", "engine.1.10.log", "engine.1.1.log", "run.json"):
        write(folder, name, "x\n")
    assert [piece.file_name for piece in pieces(folder)] == [
        "engine.1.1.log",
        "engine.1.2.log",
        "engine.1.10.log",
        "engine.1.log",
        "engine.2.log",
    ]


def test_the_last_lines_reach_back_over_pieces_and_launches(folder: Path) -> None:
    write(folder, "engine.1.log", "a\nb\n")
    write(folder, "engine.2.1.log", "c\nd\n")
    write(folder, "engine.2.log", "e\n")
    chunks = tail(folder, 4)
    assert told(chunks) == "b\nc\nd\ne\n"
    assert [chunk.incarnation for chunk in chunks] == [1, 2, 2]


def test_the_tail_of_one_launch_holds_nothing_of_another(folder: Path) -> None:
    write(folder, "engine.1.log", "a\nb\n")
    write(folder, "engine.2.log", "c\n")
    assert tail_lines(folder, 10, 2) == ("c",)
    assert tail_lines(folder, 10, 3) == ()


def test_chunks_are_of_bounded_size(folder: Path) -> None:
    write(folder, "engine.1.log", "x" * (3 * CHUNK_BYTES) + "\n")
    assert all(len(chunk.data) <= CHUNK_BYTES for chunk in tail(folder, 100))


def test_following_starts_at_the_end_and_tells_what_comes(folder: Path) -> None:
    write(folder, "engine.1.log", "old\n")
    follower = Follower(folder)
    write(folder, "engine.1.log", "new\n")
    assert told(follower.news()) == "new\n"
    assert told(follower.news()) == ""


def test_following_misses_and_repeats_nothing_over_a_rotation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    launch = shim_launch(1, log_bytes=1, log_pieces=10)
    write(folder, "engine.1.log", "one\n")
    follower = Follower(folder)
    write(folder, "engine.1.log", "two\n")
    rotate_log(launch)
    write(folder, "engine.1.log", "three\n")
    rotate_log(launch)
    write(folder, "engine.1.log", "four\n")
    assert told(follower.news()) == "two\nthree\nfour\n"
    write(folder, "engine.1.log", "five\n")
    assert told(follower.news()) == "five\n"


def test_following_goes_on_with_the_next_launch(folder: Path) -> None:
    write(folder, "engine.1.log", "old\n")
    follower = Follower(folder)
    write(folder, "engine.1.log", "end\n")
    write(folder, "engine.2.log", "begin\n")
    news = list(follower.news())
    assert [(chunk.incarnation, chunk.data) for chunk in news] == [(1, b"end\n"), (2, b"begin\n")]


def test_rotation_keeps_the_writers_descriptor_good(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with (folder / "engine.1.log").open("a") as engine:
        engine.write("before\n")
        engine.flush()
        rotate_log(shim_launch(1, log_bytes=1, log_pieces=10))
        engine.write("after\n")
    assert (folder / "engine.1.1.log").read_text() == "before\n"
    assert (folder / "engine.1.log").read_text() == "after\n"


def test_only_the_newest_pieces_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in ("engine.1.log", "engine.2.1.log", "engine.2.2.log", "engine.2.log"):
        write(folder, name, "x\n")
    launch = shim_launch(2, log_bytes=1, log_pieces=3)
    prune_logs(launch)
    assert [name for _, _, name in logs(launch)] == ["engine.2.1.log", "engine.2.2.log", "engine.2.log"]


async def test_reading_without_following_ends(folder: Path) -> None:
    write(folder, "engine.1.log", "a\nb\n")
    chunks = [chunk async for chunk in EngineLogs(folder.parent).read(NAME, 1, follow=False)]
    assert told(chunks) == "b\n"


async def test_reading_with_following_goes_on(folder: Path) -> None:
    write(folder, "engine.1.log", "a\n")
    reader = EngineLogs(folder.parent).read(NAME, 1, follow=True)
    async with asyncio.timeout(5):
        assert (await anext(reader)).data == b"a\n"
        write(folder, "engine.1.log", "b\n")
        assert (await anext(reader)).data == b"b\n"


async def test_an_instance_without_logs_has_none(tmp_path: Path) -> None:
    assert [chunk async for chunk in EngineLogs(tmp_path).read(NAME, 10, follow=False)] == []


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (folder / "engine.1.log").symlink_to(tmp_path / "secret")
    assert told(tail(folder, 5)) == ""


def test_everything_is_all_launches_from_their_first_byte(folder: Path) -> None:
    write(folder, "engine.1.log", "a\n")
    write(folder, "engine.2.3.log", "c" * (CHUNK_BYTES + 1) + "\n")
    write(folder, "engine.2.log", "d\n")
    chunks = list(everything(folder))
    assert told(chunks) == "a\n" + "c" * (CHUNK_BYTES + 1) + "\nd\n"
    assert [chunk.incarnation for chunk in chunks] == [1, 2, 2, 2]
    assert max(len(chunk.data) for chunk in chunks) == CHUNK_BYTES


def test_everything_holds_what_is_put_aside_while_it_is_read(folder: Path) -> None:
    write(folder, "engine.1.log", "a\n")
    chunks = everything(folder)
    first = next(chunks)
    write(folder, "engine.1.log", "b\n")
    (folder / "engine.1.log").rename(folder / "engine.1.1.log")
    write(folder, "engine.1.log", "c\n")
    assert told([first, *chunks]) == "a\nb\nc\n"


async def test_the_whole_log_of_an_instance_that_never_ran_is_empty(tmp_path: Path) -> None:
    assert [chunk async for chunk in EngineLogs(tmp_path).whole(NAME)] == []
