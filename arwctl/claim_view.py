"""Claims: what a person sees of them."""

from __future__ import annotations

from datetime import timedelta

from arw_client import ArwError, display_id
from arw_client import messages as m
from arw_client.holding import OVER
from arwctl.output import Columns, slug, when
from arwctl.screen import Screen

CLAIMS = Columns[m.Claim](
    ("claim", "project", "model", "state", "runtime", "node", "fence", "since"),
    lambda claim: (
        claim.id,
        display_id(claim.project) or "-",
        goes_by(claim).model_tag,
        claim.state_label,
        *((display_id(claim.hold.runtime), display_id(claim.hold.node), claim.hold.fence) if claim.hold else "---"),
        when(claim.state_time),
    ),
    "There is no claim. `arwctl claim acquire --model NAME` makes one.",
)


def goes_by(claim: m.Claim) -> m.ClaimRequirement:
    """What it is after now: what was wanted, or a fallback."""
    order = claim.order or m.RuntimeClaim()
    if 0 < claim.alternative <= len(order.fallbacks):
        return order.fallbacks[claim.alternative - 1]
    return m.ClaimRequirement(
        model_tag=order.model_tag,
        min_tokens_per_sec=order.min_tokens_per_sec,
        context_window=order.context_window,
        accelerator=order.accelerator,
        features=order.features,
        modality=order.modality,
    )


def line(claim: m.Claim) -> str:
    """What is new of it."""
    said = f"{claim.id}: {claim.state_label}"
    if claim.hold and claim.state not in OVER:
        said += f", {_place(claim.hold)}"
    if claim.alternative:
        said += f", fallback {claim.alternative}"
    if claim.notice:
        said += f", until {when(claim.notice.until)}: {_told(claim.notice.problem)}"
    if claim.wait:
        said += f", {waiting(claim.wait)}"
    return f"{said}: {_told(claim.problem)}" if claim.problem else said


def waiting(wait: m.ClaimWait) -> str:
    place = f"number {wait.position}" if wait.position else "not in a line yet"
    line_of = f" for {display_id(wait.runtime)}" if wait.runtime else ""
    turn = f", its turn by {when(wait.eta)} unless somebody renews" if wait.eta else ""
    return f"{place}{line_of}{turn}: {_told(wait.problem)}"


def failure(claim: m.Claim) -> ArwError | None:
    """What a claim that is over is told as; None: it is not."""
    if claim.state not in OVER:
        return None
    problem = claim.problem or m.Problem()
    reason = (problem.reason.name or "INTERNAL") if problem.reason else "NOTHING_HELD"
    text = f"Claim {claim.id} is {claim.state_label.lower()}"
    remedy = problem.remedy or "Acquire another one: `arwctl claim acquire --model NAME`."
    return ArwError(reason, f"{text}: {problem.text}" if problem.text else f"{text}.", remedy)


def describe(screen: Screen, claim: m.Claim) -> None:
    order, hold, wanted = claim.order or m.RuntimeClaim(), claim.hold, goes_by(claim)
    facts = [
        ("Claim", claim.id),
        ("Project", display_id(claim.project) or "- (an operator's own)"),
        ("State", f"{claim.state_label}, since {when(claim.state_time)}"),
        ("Model", f"{wanted.model_tag}{f' (fallback {claim.alternative})' if claim.alternative else ''}"),
        ("Asks for", ", ".join(_asked(order, wanted))),
        ("Runtime", display_id(hold.runtime) if hold else "-"),
        ("Node", display_id(hold.node) if hold else "-"),
        ("Fence", hold.fence if hold else "-"),
        ("Expires", f"{when(claim.expire_time)} unless renewed" if claim.expire_time else "-"),
    ]
    for name, value in (*facts, *_more(claim, order)):
        screen.line(f"{name + ':':20}{value}")


def _asked(order: m.RuntimeClaim, wanted: m.ClaimRequirement) -> list[str]:
    limits = [
        (wanted.min_tokens_per_sec, f"{wanted.min_tokens_per_sec:g} tokens/s"),
        (wanted.context_window, f"context {wanted.context_window}"),
        (wanted.accelerator, slug(wanted.accelerator)),
        (wanted.modality, slug(wanted.modality)),
        (order.priority, f"priority {order.priority}"),
    ]
    alone = "the instance alone" if order.exclusive else "one slot"
    return [alone, *(said for given, said in limits if given), *wanted.features]


def _more(claim: m.Claim, order: m.RuntimeClaim) -> list[tuple[str, str]]:
    """What not every claim has."""
    known: list[tuple[object, str, str]] = [
        (claim.hold and claim.hold.not_after, "Ends", when(claim.hold.not_after) if claim.hold else ""),
        (order.fallbacks, "Fallbacks", ", ".join(each.model_tag for each in order.fallbacks)),
        (order.max_disruption, "Suspended at most", _seconds(order.max_disruption)),
        (order.stop_after, "Cut off at most", _seconds(order.stop_after)),
        (order.window, "Window", _window(order.window or m.ClaimWindow())),
        (claim.booked_runtime, "Promised", display_id(claim.booked_runtime)),
        (claim.wait, "Waits", waiting(claim.wait or m.ClaimWait())),
        (claim.notice, "Loses it", _notice(claim.notice or m.ClaimNotice())),
        (claim.problem, "Problem", _told(claim.problem)),
        (claim.end_time, "Ended", when(claim.end_time)),
    ]
    return [(name, said) for given, name, said in known if given]


def _place(hold: m.ClaimHold) -> str:
    return f"{display_id(hold.runtime)} on {display_id(hold.node)}, fence {hold.fence}"


def _window(window: m.ClaimWindow) -> str:
    return f"{when(window.start_time)} to {when(window.end_time)}"


def _notice(notice: m.ClaimNotice) -> str:
    return f"{when(notice.until)}: {_told(notice.problem)}"


def _seconds(span: timedelta | None) -> str:
    return f"{span.total_seconds():g} s" if span else "-"


def _told(problem: m.Problem | None) -> str:
    return f"{problem.text} {problem.remedy}".strip() if problem else ""
