"""A minimal raw client of the Kubernetes API, so that tests do not check Plimsoll's client with itself.

Owns HTTP over TLS to one API server, nothing more: what comes is what the server sent, no retry, no decoding beyond
JSON, no cache, a new connection for every request.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from pathlib import Path

Json = dict[str, Any]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML

REQUEST_SECONDS = 60.0


class ApiError(RuntimeError):
    """The server answered with an HTTP error; `body` is its Status object, or its text where it sent none."""

    def __init__(self, method: str, path: str, status: int, body: Json | str) -> None:
        self.status = status
        self.body = body
        message = body.get("message", body) if isinstance(body, dict) else body
        super().__init__(f"{method} {path}: HTTP {status}: {message}")

    @property
    def reason(self) -> str:
        """Machine-readable reason, such as ``Expired`` or ``Forbidden``; empty where the server gave none."""
        return str(self.body.get("reason", "")) if isinstance(self.body, dict) else ""


@dataclass(frozen=True, slots=True)
class Event:
    """One watch event: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR (then `object` is a Status)."""

    type: str
    object: Json


class Watch:
    """An open watch: a context manager and an iterator that ends when the server ends the stream.

    Raises TimeoutError when nothing comes for the seconds that it was opened with.
    """

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response
        self.status = response.status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        line = self._response.readline()
        if not line:
            raise StopIteration
        event: Json = json.loads(line)
        return Event(event["type"], event["object"])


class Api:
    """Access to one server with one bearer token, which a single request may replace; empty is anonymous."""

    def __init__(self, url: str, token: str = "", ca_file: Path | None = None) -> None:
        self.url = url
        self._token = token
        # Without the empty ProxyHandler, urllib would send requests for the loopback to $https_proxy.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if ca_file is not None:
            context = ssl.create_default_context(cafile=str(ca_file))
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        token: str | None = None,
        content_type: str = JSON,
    ) -> Json:
        """The decoded answer; a body that is no JSON object (such as that of /readyz) comes as {"text": ...}.

        Raises ApiError for an HTTP error, OSError (urllib.error.URLError) when there is no answer.
        """
        with self._open(
            method, path, body, token=token, content_type=content_type, seconds=REQUEST_SECONDS
        ) as response:
            text = response.read().decode()
        answer = _decode(text)
        return answer if isinstance(answer, dict) else {"text": answer}

    def watch(
        self, path: str, resource_version: str, *, token: str | None = None, seconds: float = 30.0, **query: str
    ) -> Watch:
        """Opens a watch on a collection from a resource version. `seconds` bounds the wait for each event.

        More query parameters as keywords: ``fieldSelector="spec.nodeName=a"``, ``allowWatchBookmarks="true"``.
        """
        parameters = urlencode({"watch": "1", "resourceVersion": resource_version, **query})
        url = f"{path}?{parameters}"
        return Watch(self._open("GET", url, None, token=token, content_type=JSON, seconds=seconds))

    def _open(
        self,
        method: str,
        path: str,
        body: Json | None,
        *,
        token: str | None,
        content_type: str,
        seconds: float,
    ) -> HTTPResponse:
        headers = {"Accept": JSON, "User-Agent": "plimsoll-tests"}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        bearer = self._token if token is None else token
        if bearer:
            request.add_header("Authorization", f"Bearer {bearer}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", content_type)
        try:
            response: HTTPResponse = self._opener.open(request, timeout=seconds)
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(method, path, error.code, _decode(error.read().decode())) from None
        return response


def _decode(text: str) -> Json | str:
    try:
        answer = json.loads(text)
    except json.JSONDecodeError:
        return text
    return answer if isinstance(answer, dict) else text
