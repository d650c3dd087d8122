"""How gunicorn serves Shopstream, on a platform as under scripts/run.

Other values come from the environment: ``WEB_CONCURRENCY`` processes (1), ``WEB_THREADS`` threads each (8), and whatever
``GUNICORN_CMD_ARGS`` says, which wins over this file.
"""

import os
import sys
from typing import Any

from settings import SettingsError, load

try:
    _settings = load()
except SettingsError as error:
    # Here, once, before any worker starts: otherwise each of them would fail with a traceback, again and again.
    sys.exit(str(error))

bind = f"0.0.0.0:{_settings.port}"
worker_class = "gthread"
workers = _settings.web_concurrency
threads = _settings.web_threads
#: Seconds that requests under way get after SIGTERM; platforms kill after 30, and we promise 25.
graceful_timeout = 20
#: Seconds after which the master takes a worker process for hung.
timeout = 60
#: Seconds an idle connection is kept. Routers reuse connections for longer than gunicorn's default of 2.
keepalive = 75
# Its default place is one file per user: two servers of the same user would fight for it.
control_socket_disable = True
# For those who want an access log: gunicorn's own format has the query and the referer in it, where codes may stand.
access_log_format = '%(h)s %(t)s "%(m)s %(U)s %(H)s" %(s)s %(b)s "%(a)s"'
# Heartbeat files in memory: a slow disk must not look like a hung worker.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112


def post_worker_init(worker: Any) -> None:
    from app import connections  # noqa: PLC0415  in the worker: the master has no use for the application

    worker.handle = connections.watch(worker.handle)
