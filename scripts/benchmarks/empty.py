"""The yardstick of the webhook benchmark: what this server, with Flask, does when there is nothing to do."""

from flask import Flask

app = Flask(__name__)


@app.post("/empty")
def empty() -> dict[str, str]:
    return {}
