"""The command ``python -m scripts.store``: serve the simulated shops until SIGTERM or Ctrl-C."""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from .control import Control
from .deliveries import Sender
from .market import Market
from .outbox import Outbox
from .server import Server, Site
from .traffic import Traffic

#: Of a demonstration shop's answers, so many are a 429, as they are now and then.
RATE_LIMITED = 0.004


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.store", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one (default)")
    parser.add_argument("--directory", type=Path, required=True, help="where the shops' state is kept")
    parser.add_argument("--seed", type=int, default=1, help="what the generated shop is drawn from (default 1)")
    parser.add_argument("--webhook-url", help="where webhooks of all topics go; without it only to subscriptions")
    parser.add_argument("--webhooks-per-second", type=float, default=0.0, help="live traffic (default 0, none)")
    parser.add_argument("--empty", action="store_true", help="do not make the two demonstration shops")
    parser.add_argument("--no-faults", action="store_true", help="no 429 now and then")
    return parser.parse_args(arguments)


def main() -> int:
    arguments = parse_arguments()
    market = Market(arguments.directory)
    if not arguments.empty:
        market.add_demo(seed=arguments.seed)
        for shop in market:
            if not arguments.no_faults:
                shop.faults.configure({"rate_limited": {"probability": RATE_LIMITED}})
    sender = Sender(on_given_up=market.drop_subscription)
    outbox = Outbox(sender, arguments.webhook_url)
    traffic = Traffic(market, outbox, rate=arguments.webhooks_per_second)
    server = Server(arguments.port, Site(market, Control(market, outbox, traffic)))
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
    port = server.server_address[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "port": port}), flush=True)
    stopping.wait()
    server.shutdown()
    server.server_close()
    traffic.stop()
    sender.stop()
    market.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
