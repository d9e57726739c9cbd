"""Loading the modules of a serving process."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG_BETWEEN_FULL = 100
"""Collections of the younger objects for one of all, in place of 10. That one stops everything: 0.1 s where a thousand
agents are connected, and finds a few hundred objects, for sessions and calls hold no cycles."""


@contextmanager
def loading() -> Iterator[None]:
    """Import what serves inside, once, before anything else needs it.

    What modules define stays to the end: it is not looked through for garbage now, and never again after.
    structlog would load rich, for coloured tracebacks that lines of JSON never hold: 50 ms and 4 MB.
    """
    gc.disable()
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # how the import system is told: not there
    try:
        import structlog  # noqa: F401, PLC0415 - see above
    finally:
        if sys.modules.get("rich") is None:
            del sys.modules["rich"]
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*gc.get_threshold()[:2], YOUNG_BETWEEN_FULL)
        gc.enable()
