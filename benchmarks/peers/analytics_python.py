"""How fast segment-analytics-python hands over events: `analytics_python.py URL KEY COUNT THREADS`.

Prints the seconds from the first call until all are answered for.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from typing import Any

PROPERTIES = {
    "order_id": "ord_0005521",
    "total": 64.9,
    "currency": "BRL",
    "products": [
        {"product_id": f"p{number}", "sku": "ROPE-12", "name": "Corda náutica", "price": 32.45}
        for number in range(4)
    ],
    "note": "Leave it at the harbour master's office, second door on the left. " * 2,
}
CONTEXT = {
    "ip": "203.0.113.24",
    "locale": "pt-BR",
    "timezone": "America/Sao_Paulo",
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64) ExampleBrowser/1.0",
}


def main() -> None:
    """Send so many events of about 1 KB, and say how long it took."""
    url, key, count, threads = sys.argv[1:]
    module: Any = import_module("segment.analytics.client")
    # A short interval, or the last batches would wait half a second for more to come.
    client = module.Client(
        key, host=url, thread=int(threads), upload_interval=0.05, on_error=give_up
    )
    start = time.perf_counter()
    for number in range(int(count)):
        while client.queue.full():  # it would refuse the event
            time.sleep(0.01)
        client.track(f"usr_{number:06}", "Order Completed", PROPERTIES, dict(CONTEXT))
    client.flush()
    print(time.perf_counter() - start)


def give_up(error: Exception, _batch: object) -> None:
    """End at once, out of the SDK's own thread: what is not accepted has no rate."""
    print(error, file=sys.stderr, flush=True)
    os._exit(1)


if __name__ == "__main__":
    main()
