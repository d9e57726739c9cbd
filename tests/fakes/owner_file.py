"""A node_agent.toml for engines of ours that keep notes outside their own directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

FAKES = Path(__file__).parent


def write(state: Path, *, folders: Sequence[Path] = ()) -> None:
    """Into a state directory: engines may run what lies in tests/fakes, and change `folders`."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = state / "node_agent.toml"
    values = {"use": [str(FAKES)], "write": [str(folder) for folder in folders]}
    file.write_text("\n".join(["[sandbox]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]))
    file.chmod(0o600)
