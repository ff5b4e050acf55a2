"""Run the benchmarks, print a table, write JSON: `python benchmarks/run.py [--quick] [NAME…]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import jetstream, machine, mapping, receiver, report, tap, target

MODULES = {
    "receiver": receiver,
    "tap": tap,
    "target": target,
    "mapping": mapping,
    "jetstream": jetstream,
}


def main() -> None:
    """Run the chosen benchmarks and show what they found."""
    options = arguments()
    found = run(options.names or list(MODULES), quick=options.quick)
    print(json.dumps(found["machine"]), json.dumps(found["versions"]), sep="\n")
    print((report.markdown if options.markdown else report.table)(found["measurements"]))
    if options.json:
        text = json.dumps(found, indent=2, default=report.Measurement.to_json)
        options.json.write_text(text + "\n", "utf-8")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODULES)}: all")
    parser.add_argument("--quick", action="store_true", help="one short round: only to try it")
    parser.add_argument("--markdown", action="store_true", help="the table as in the README")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def run(names: list[str], *, quick: bool) -> dict[str, Any]:
    """Run the benchmarks *names*; return the machine, the versions, the measurements."""
    started, stolen = time.monotonic(), machine.stolen_seconds()
    measurements = [found for name in names for found in MODULES[name].measure(quick=quick)]
    share = (machine.stolen_seconds() - stolen) / (time.monotonic() - started)
    versions = {key: value for name in names for key, value in MODULES[name].versions().items()}
    return {
        "quick": quick,
        "machine": machine.describe() | {"stolen_cores": round(share, 2)},
        "versions": versions,
        "measurements": measurements,
    }


if __name__ == "__main__":
    main()
