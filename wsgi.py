"""The web process, as gunicorn and the ``flask`` command load it."""

import os
import sys

from settings import SettingsError

try:
    from app import create_app
    from app.directory import directory

    app = create_app()
except SettingsError as error:
    sys.exit(str(error))

if os.environ.get("FLASK_RUN_FROM_CLI") != "true":  # the operator's commands take no webhooks
    directory.start()
