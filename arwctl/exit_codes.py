"""What the exit status of a command means."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    """Refused, or done in vain."""
    USAGE = 2
    UNREACHABLE = 3
    """No control plane answers."""
    TIMEOUT = 4
    """It may still happen: nothing was undone."""
    INTERRUPTED = 130


EPILOG = (
    "--state-dir and --context are taken before and after a command. "
    "Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 no control plane answers; "
    "4 not done in time; 130 interrupted."
)
