"""`python -m benchmarks [--json] [GROUP ...]` prints a row per figure and exits 1 when a target is missed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

from benchmarks import (
    claims,
    command_line,
    containers,
    data_path,
    fleet,
    idle,
    lifecycle,
    replicas,
    scale,
    store,
    supervision,
)
from benchmarks.row import Row

GROUPS: Mapping[str, Callable[[], Iterator[Row]]] = {
    "help": command_line.rows,
    "lifecycle": lifecycle.rows,
    "gateway": data_path.rows,
    "idle": idle.rows,
    "supervision": supervision.rows,
    "containers": containers.rows,
    "fleet": fleet.rows,
    "fleet-10000": fleet.ten_thousand,
    "claims": claims.rows,
    "claims-10000": claims.ten_thousand,
    "replicas": replicas.rows,
    "scale": scale.rows,
    "store": store.rows,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object with rows and the load average")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all when none is named")
    options = parser.parse_args()
    unknown = set(options.groups) - GROUPS.keys()
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    before = os.getloadavg()
    found: list[Row] = []
    for name in options.groups or GROUPS:
        for row in GROUPS[name]():
            found.append(row)
            if not options.json:
                print(line(row), flush=True)
    load = {"before": before, "after": os.getloadavg()}
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in found], "load_average": load}, indent=2))
    else:
        print(f"load average {before[0]:.2f} before, {load['after'][0]:.2f} after")
    return 0 if all(row.holds for row in found) else 1


def line(row: Row) -> str:
    parts = [f"{row.name}: {row.ours:.4g} {row.unit}"]
    if row.beside is not None:
        parts += [f"beside {row.beside:.4g} ({row.baseline})", f"{row.comparison} {row.compared:.4g}"]
    elif row.baseline:
        parts.append(row.baseline)
    return f"{', '.join([*parts, row.target])}: {'holds' if row.holds else 'MISSED'}"


if __name__ == "__main__":
    sys.exit(main())
