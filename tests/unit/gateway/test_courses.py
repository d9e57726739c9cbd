"""Where a request goes after its first place failed, when holds change meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from gateway.courses import Courses
from gateway.errands import ERRANDS, Answered
from gateway.passage import Course
from gateway.ports import Caller, Route, ServedModel, Task
from gateway.refusals import BadRequest, GatewayRefusal, NotServing, RuntimeClaimed
from gateway.relay import Relay
from gateway.seats import Lines
from wire.http_head import Limits, Request, RequestReader
from wire.trace import new

HERE = Route("nodes/a/instances/m", "a", "system", 1, "m")
THERE = Route("nodes/b/instances/m", "b", "system", 1, "m")
Told = Route | GatewayRefusal


@dataclass(slots=True)
class Script:
    """What is resolved, one after the other."""

    answers: list[Told]
    asked: list[tuple[list[str], str]] = field(default_factory=list)
    """Instances to avoid, and the claim."""
    in_use: list[Route] = field(default_factory=list)

    def resolve(
        self,
        model: str,
        task: Task = Task.TEXT,
        project: str = "",
        avoid: Collection[str] = (),
        *,
        claim: str = "",
        body: bytes = b"",
    ) -> Route:
        del model, task, project, body
        self.asked.append((list(avoid), claim))
        told = self.answers.pop(0)
        if isinstance(told, GatewayRefusal):
            raise told
        self.in_use.append(told)
        return told

    def left(self, route: Route) -> None:
        self.in_use.remove(route)

    def wake(self, runtime: str) -> None:
        raise AssertionError(f"{runtime} does not sleep")

    def models(self) -> Sequence[ServedModel]:
        return ()


class Pools:
    """Of nodes without lines."""

    def pool(self, node: str) -> str:
        return node

    def seat(self, *_: object) -> None:
        return None


def asked(path: bytes, body: bytes) -> Request:
    found: list[Request] = []
    head = b"POST %b HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % (path, len(body))
    RequestReader(Limits(), lambda _: None, found.append).feed(head + body)
    return found[0]


def courses(*answers: Told, path: bytes = b"/v1/chat/completions", body: bytes = b'{"model": "m"}') -> Courses:
    request = asked(path, body)
    caller = Caller("key", project="team", claim="c1")
    pools = Pools()
    return Courses(
        request, ERRANDS[path](request), caller, new(), Script(list(answers)), cast(Relay, pools), cast(Lines, pools)
    )


def script(made: Courses) -> Script:
    return cast(Script, made.routes)


def held(course: Course | Answered | None) -> bytes:
    assert isinstance(course, Course)
    return b" ".join(line for line in course.message.split(b"\r\n") if line.startswith(b"x-arw"))


def busy() -> NotServing:
    return NotServing("Nowhere else.")


def test_each_place_is_tried_once_under_the_claim_that_was_named() -> None:
    made = courses(HERE, THERE, busy(), HERE)
    assert b"nodes/a" in held(made.next())
    assert b"nodes/b" in held(made.another())
    assert made.another() is None
    assert script(made).asked == [
        ([], "c1"),
        ([HERE.instance], "c1"),
        ([HERE.instance, THERE.instance], "c1"),
        ([], "c1"),
    ]


def test_the_same_place_counts_again_once_it_is_held_otherwise() -> None:
    newer = Route(HERE.instance, "a", "c1", 5, "m")
    made = courses(HERE, busy(), newer)
    made.next()
    assert held(made.another()) == b"x-arw-instance: nodes/a/instances/m x-arw-claim: c1 x-arw-fence: 5"


def test_that_others_took_it_meanwhile_is_told_and_that_nothing_else_serves_is_not() -> None:
    made = courses(HERE, busy(), RuntimeClaimed("Held."), busy(), busy())
    made.next()
    with pytest.raises(RuntimeClaimed):
        made.another()
    assert made.another() is None


def test_every_route_that_leads_nowhere_is_given_back() -> None:
    made = courses(HERE, busy(), HERE)
    course = made.next()
    assert made.another() is None
    assert isinstance(course, Course)
    course.left()
    assert script(made).in_use == []
    loading = courses(HERE, path=b"/api/chat")
    assert isinstance(loading.next(), Answered)
    assert script(loading).in_use == []
    spoilt = courses(
        HERE, path=b"/v1/messages", body=b'{"model": "m", "messages": [{"role": "user", "content": [{}]}]}'
    )
    with pytest.raises(BadRequest):
        spoilt.next()
    assert script(spoilt).in_use == []
