"""gunicorn.conf.py: a setting that cannot be used stops the start with one line, before any worker."""

import os
import subprocess
import sys
from pathlib import Path

from scripts.bootstrap import ROOT


def test_a_malformed_setting_is_one_line_and_no_traceback():
    environment = {**os.environ, "DATABASE_URL": "mysql://user:hunter2@host/db"}
    gunicorn = Path(sys.executable).with_name("gunicorn")
    done = subprocess.run(
        [gunicorn, "wsgi:app"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "DATABASE_URL" in done.stderr
    assert "hunter2" not in done.stderr
