"""
HTTP to the API server: credentials, TLS and bytes. The only user of the ``kubernetes`` package.

Of that package only the configuration loaders and the bare ``ApiClient`` are used. Its typed lists fail as a whole for
one odd pod, and its ``Watch`` neither survives an ERROR event in raw mode nor notices a half-open connection. What the
bytes mean is not known here.
"""

from __future__ import annotations

import os.path
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException, load_kube_config
from kubernetes.config.incluster_config import InClusterConfigLoader
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as SlowError

from plimsoll import __version__
from plimsoll.sources.kube.failure import Failure, Reason
from plimsoll.sources.kube.timing import Timing
from plimsoll.sources.kube.transport import Query

_CHUNK = 64 << 10
# Interrupting is said again until the thread has ended: it may have been between two system calls the first time. A
# thread that is still connecting cannot be interrupted and is left to its connect timeout.
_END_ATTEMPTS = 40
_END_SECONDS = 0.05


class Response:
    """One response, its body unread. Reading raises Failure."""

    def __init__(self, raw: Any, clock: Callable[[], float]) -> None:
        self._raw = raw
        self._clock = clock
        self.status: int = raw.status

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asks to wait. The API server never sends the other form, a date."""
        value = str(self._raw.headers.get("Retry-After", ""))
        return float(value) if value.isascii() and value.isdigit() and len(value) < 8 else None

    def read(self, limit: int, seconds: float) -> bytes:
        """The whole body, of at most ``limit`` bytes, within ``seconds`` however slowly it comes."""
        deadline = self._clock() + seconds
        parts: list[bytes] = []
        size = 0
        for chunk in self.chunks():
            size += len(chunk)
            parts.append(chunk)
            if size > limit:
                raise Failure(Reason.OVERSIZE, f"a body of more than {limit} bytes")
            if self._clock() > deadline:
                raise Failure(Reason.TIMEOUT, f"the body did not come within {seconds:g} s")
        return b"".join(parts)

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, until the server ends it properly."""
        while True:
            try:
                chunk: bytes = self._raw.read1(_CHUNK)
            except (HTTPError, OSError) as error:
                raise _failure(error) from error
            if not chunk:
                return
            yield chunk

    def close(self) -> None:
        """Let go of the connection; it is used again if the body was read to its end."""
        if self._raw.isclosed():
            self._raw.release_conn()
        else:
            self._raw.close()

    def interrupt(self) -> None:
        """End a read that another thread is in."""
        # ValueError, RuntimeError: read to the end meanwhile, so that there is nothing to interrupt.
        with suppress(OSError, ValueError, RuntimeError):
            self._raw.shutdown()


class Connection:
    """
    Requests with the credentials of a kubeconfig, or of the pod this runs in, one after the other.

    ``interrupt`` and ``end`` may be called from another thread; everything else belongs to one thread.
    """

    def __init__(
        self,
        kubeconfig: str | None,
        *,
        service_account: str,
        environ: Mapping[str, str],
        clock: Callable[[], float],
        timing: Timing,
    ) -> None:
        """Load the credentials; nothing is sent. Raises OSError and ValueError: see KubePods."""
        self._kubeconfig = None if kubeconfig is None else os.path.expanduser(kubeconfig)
        self._service_account = service_account
        self._environ = environ
        self._clock = clock
        self._timing = timing
        self._socket_of: Any = None
        self._response: Response | None = None
        self._client: Any = self._load()

    def reload(self) -> None:
        """Read the credentials again: tokens are rotated in place. Raises Failure; then the old ones stay."""
        try:
            client = self._load()
        except (OSError, ValueError) as error:
            raise Failure(Reason.CREDENTIALS, str(error)) from error
        self._client.close()
        self._client = client

    def get(self, path: str, query: Query, read_seconds: float) -> Response:
        """
        Send one request and wait for the header of its response.

        ``read_seconds`` bounds every single wait for bytes, here and while the body is read. Raises Failure.
        """
        return self._request("GET", path, read_seconds, query=query)

    def send(self, method: str, path: str, body: object, content_type: str, read_seconds: float) -> Response:
        """Send one request with ``body``, which becomes JSON, and wait as for :meth:`get`. Raises Failure."""
        return self._request(method, path, read_seconds, body=body, content_type=content_type)

    def _request(
        self,
        verb: str,
        path: str,
        read_seconds: float,
        *,
        query: Query = (),
        body: object = None,
        content_type: str | None = None,
    ) -> Response:
        accept = {"Accept": "application/json"}
        try:
            # This reads the service account's token again once a minute.
            method, url, headers, _, _ = self._client.param_serialize(
                verb,
                path,
                query_params=list(query),
                header_params=accept if content_type is None else {**accept, "Content-Type": content_type},
                auth_settings=["BearerToken"],
            )
        except (ConfigException, OSError) as error:
            raise Failure(Reason.CREDENTIALS, f"the service account's token: {error}") from error
        try:
            timeout = (self._timing.connect, read_seconds)
            raw = self._client.call_api(method, url, headers, body, _request_timeout=timeout)
        except (ApiException, HTTPError, OSError) as error:
            raise _failure(error) from error
        except ValueError as error:
            # The error's own text would show the token.
            raise Failure(Reason.CREDENTIALS, "the token has characters that no HTTP header can carry") from error
        self._response = Response(raw.response, self._clock)
        return self._response

    def interrupt(self) -> None:
        """End what another thread waits for here: the header of a response, or its body."""
        connection, response = self._socket_of, self._response
        sock = connection.sock if connection is not None else None
        if isinstance(sock, socket.socket):
            # Of the plain socket: an SSLSocket's own shutdown() takes the TLS session away from the reading thread.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        elif response is not None:
            response.interrupt()

    def close(self) -> None:
        """Close the idle connection."""
        self._client.close()

    def end(self, thread: threading.Thread) -> None:
        """Interrupt the thread that uses this until it ends, as it was told to, and close."""
        if thread.ident is None:
            return
        for _ in range(_END_ATTEMPTS):
            self.interrupt()
            thread.join(_END_SECONDS)
            if not thread.is_alive():
                self.close()
                return

    def _load(self) -> Any:
        configuration = Configuration()
        if self._kubeconfig is None:
            self._load_service_account(configuration)
        else:
            self._load_kubeconfig(configuration, self._kubeconfig)
        # Not urllib3: it would sleep for Retry-After where nobody can stop it.
        configuration.retries = False
        configuration.connection_pool_maxsize = 1
        configuration.socket_options = self._socket_options()
        host = urlsplit(configuration.host).hostname or ""
        if host == "localhost" or host.startswith("127.") or host == "::1":
            # As kubectl does: a proxy of the environment is never meant for this machine.
            configuration.no_proxy = "*"
        client: Any = ApiClient(configuration)
        client.user_agent = f"plimsoll/{__version__}"
        # The socket of a request that waits for its header is to be had from nowhere else.
        pool = client.rest_client.pool_manager.connection_from_url(configuration.host)
        pool.ConnectionCls = self._noted(pool.ConnectionCls)
        return client

    def _noted(self, connection_class: Callable[..., Any]) -> Callable[..., Any]:
        def connect(*arguments: Any, **keywords: Any) -> Any:
            self._socket_of = connection_class(*arguments, **keywords)
            return self._socket_of

        return connect

    def _load_service_account(self, configuration: Configuration) -> None:
        loader = InClusterConfigLoader(  # type: ignore[no-untyped-call] # the package has no types here
            token_filename=f"{self._service_account}/token",
            cert_filename=f"{self._service_account}/ca.crt",
            environ=self._environ,
        )
        try:
            loader.load_and_set(configuration)  # type: ignore[no-untyped-call] # as above
        except ConfigException as error:
            raise ValueError(
                f"no service account to reach the API server with: {error} "
                "In a pod, mount a service account token; elsewhere, give --kubeconfig FILE or --pods DIR"
            ) from error

    def _load_kubeconfig(self, configuration: Configuration, path: str) -> None:
        with open(path, "rb"):
            pass  # the loader takes a file that is not there, or not readable, for an empty one
        configuration.host = ""
        try:
            load_kube_config(  # type: ignore[no-untyped-call] # the package has no types here
                config_file=path, client_configuration=configuration, persist_config=False
            )
        except OSError:
            raise
        except Exception as error:
            # The loader lets the errors of YAML and of its own look-ups through.
            raise ValueError(f"{path}: not a kubeconfig: {' '.join(str(error).split())}; see kubectl config") from error
        if urlsplit(configuration.host).scheme not in {"http", "https"}:
            raise ValueError(f"{path}: the cluster of the current context has no server: an http or https URL")

    def _socket_options(self) -> list[tuple[int, int, int]]:
        timing = self._timing
        unanswered = timing.keepalive_idle + timing.keepalive_interval * timing.keepalive_count
        return [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, timing.keepalive_idle),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, timing.keepalive_interval),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, timing.keepalive_count),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * unanswered),
        ]


def _failure(error: Exception) -> Failure:
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, ApiException):
        # The one thing the client turns into its own exception is TLS; its text has no status worth reading.
        return Failure(Reason.TLS, " ".join(str(error.reason).split())[:300])
    # urllib3 calls a refused connection a kind of timeout.
    slow = isinstance(error, SlowError) and not isinstance(error, NewConnectionError)
    return Failure(Reason.TIMEOUT if slow else Reason.TRANSPORT, text)
