"""The command ``python -m scripts.store``: serve the simulated shops until SIGTERM or Ctrl-C."""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from .control import Control
from .market import Market
from .server import Server, Site


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.store", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one (default)")
    parser.add_argument("--directory", type=Path, required=True, help="where the shops' state is kept")
    parser.add_argument("--seed", type=int, default=1, help="what the generated shop is drawn from (default 1)")
    parser.add_argument("--webhook-url", help="where webhooks of all topics go; without it only to subscriptions")
    parser.add_argument("--webhooks-per-second", type=float, default=0.0, help="live traffic (default 0, none)")
    parser.add_argument("--empty", action="store_true", help="do not make the two demonstration shops")
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    market = Market(arguments.directory)
    if not arguments.empty:
        market.add_demo(seed=arguments.seed)
    server = Server(arguments.port, Site(market, Control(market)))
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
    port = server.server_address[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "port": port}), flush=True)
    stopping.wait()
    server.shutdown()
    server.server_close()
    market.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
