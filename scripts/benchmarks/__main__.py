"""scripts/bench: the command line. What it measures goes to stdout, a JSON object a line; what it does, to stderr."""

import argparse
import json
import signal
import sys
from types import FrameType

from scripts.benchmarks import BENCHMARKS, WITH_PEERS


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # so that everything that was started is stopped


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Run the benchmarks, all of them by default.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones (see --list)")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and what they measure")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="compare the queue with other brokers too (installs them beside the project)",
    )
    options = parser.parse_args()
    if options.list:
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:12} {(benchmark.__doc__ or '').strip().splitlines()[0]}")
        return 0
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}: see scripts/bench --list")
    signal.signal(signal.SIGTERM, _leave)
    for name in options.names or BENCHMARKS:
        print(f"Measuring {name}", file=sys.stderr, flush=True)
        benchmark = WITH_PEERS.get(name, BENCHMARKS[name]) if options.peers else BENCHMARKS[name]
        for result in benchmark():
            print(json.dumps({"benchmark": name, **result}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
