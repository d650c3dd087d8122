"""Shopstream's own API as the administrator uses it: what scripts/run needs of it."""

from collections.abc import Mapping
from typing import Any

import requests

#: Seconds to wait for an answer, and for a connection.
_TIMEOUT = (3.05, 30)


class ApiError(Exception):
    """The API answered with a problem, or not at all. The message is one line."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def loopback_session() -> requests.Session:
    """A session for servers on this machine: without the proxies and the .netrc of the environment."""
    session = requests.Session()
    session.trust_env = False
    return session


class Api:
    def __init__(self, url: str, *, username: str, password: str) -> None:
        self._url = url
        self._session = loopback_session()
        self._session.auth = (username, password)

    def get(self, path: str, **query: str | int | None) -> Any:
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, object], **query: str | int | None) -> Any:
        return self._call("POST", path, query=query, body=body)

    def patch(self, path: str, body: Mapping[str, object]) -> Any:
        return self._call("PATCH", path, body=body)

    def tenants(self) -> dict[str, str]:
        """The ids of all tenants by their shop's domain."""
        found: dict[str, str] = {}
        after: str | None = None
        while True:
            page = self.get("/api/tenants", after=after)
            found.update({tenant["shopDomain"]: tenant["id"] for tenant in page["tenants"]})
            after = page.get("next")
            if after is None:
                return found

    def _call(
        self, method: str, path: str, *, query: Mapping[str, str | int | None] | None = None, body: object = None
    ) -> Any:
        try:
            answer = self._session.request(method, self._url + path, params=query, json=body, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise ApiError(f"{method} {path}: {type(error).__name__}") from error
        if not answer.ok:
            raise ApiError(f"{method} {path}: {_problem(answer)}", answer.status_code)
        return answer.json()


def _problem(answer: requests.Response) -> str:
    try:
        problem = answer.json()
        return f"{answer.status_code} {problem.get('title', '')}: {problem.get('detail', '')}"
    except (ValueError, AttributeError):
        return f"{answer.status_code} {answer.reason}"
