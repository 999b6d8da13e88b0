"""
The endpoint's certificate: loaded whole or not at all, and followed while its files change.

The last good one stays in force while the files on disk are broken. It must not know HTTP, nor when to look.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from typing import NamedTuple

from plimsoll.config.problem import ConfigError, Problem
from plimsoll.config.schema import TlsSection
from plimsoll.log import Event, Log

_Stamp = tuple[tuple[int, ...] | None, ...]


class TlsState(NamedTuple):
    """``ok``: the files on disk are in force. ``loaded_unix``: when the certificate in force was loaded."""

    ok: bool
    loaded_unix: float
    problems: tuple[str, ...] = ()


class ServerTls:
    """The context for the next handshake. A context never changes: connections keep the one they were made with."""

    def __init__(self, section: TlsSection, unix: Callable[[], float] = time.time) -> None:
        """Load the files. Raises ConfigError naming field and cure."""
        self._section = section
        self._unix = unix
        self._stamp = self._look()
        self.context = load_context(section)
        self.state = TlsState(ok=True, loaded_unix=unix())

    @property
    def asks_client(self) -> bool:
        """Whether clients are asked for a certificate."""
        return self._section.client_ca_file is not None

    def follow(self) -> bool:
        """Load the files again if they changed; whether :attr:`state` is a new one."""
        # The stamp is taken first: a swap between it and the load gives another stamp the next time.
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.context = load_context(self._section)
        except ConfigError as error:
            problems = tuple(str(problem) for problem in error.problems)
            self.state = TlsState(ok=False, loaded_unix=self.state.loaded_unix, problems=problems)
            _log.error(Event.CONFIG_REJECTED, file=self._section.cert_file, problems=list(problems))
        else:
            self.state = TlsState(ok=True, loaded_unix=self._unix())
            _log.info(Event.TLS_RELOADED, file=self._section.cert_file)
        return True

    def _look(self) -> _Stamp:
        return tuple(_stamp(path) for path in _files(self._section).values())


def load_context(section: TlsSection) -> ssl.SSLContext:
    """A server's context. Raises ConfigError naming field and cure."""
    problems = tuple(problem for field, path in _files(section).items() if (problem := _unreadable(field, path)))
    if problems:
        raise ConfigError(problems)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # OpenSSL's errors do not tell the certificate from the key: reading the former as a CA does.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(section.cert_file)
    except OSError as error:
        raise _problem("certFile", section.cert_file, "holds no PEM certificate", "name tls.crt of the pair") from error
    try:
        # Without a callback OpenSSL would ask a person for the password of an encrypted key.
        context.load_cert_chain(section.cert_file, section.key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        what = f"holds no plain PEM private key that belongs to {section.cert_file}"
        raise _problem("keyFile", section.key_file, what, "name the key of that certificate, not encrypted") from error
    if section.client_ca_file is not None:
        try:
            context.load_verify_locations(section.client_ca_file)
        except OSError as error:
            raise _problem(
                "clientCAFile", section.client_ca_file, "holds no PEM certificate", "name a file of CA certificates"
            ) from error
        # Optional, because the kubelet's probes have no certificate; every other path asks for it (http.py).
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _files(section: TlsSection) -> dict[str, str]:
    files = {"certFile": section.cert_file, "keyFile": section.key_file}
    if section.client_ca_file is not None:
        files["clientCAFile"] = section.client_ca_file
    return files


def _stamp(path: str) -> tuple[int, ...] | None:
    # stat follows the links of a Secret volume, which are swapped: the file behind is then another inode.
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _unreadable(field: str, path: str) -> Problem | None:
    try:
        with open(path, "rb"):
            return None
    except OSError as error:
        return Problem(path, None, f"http.tls.{field}", f"cannot be read: {error.strerror}", "name a readable PEM file")


def _problem(field: str, path: str, what: str, cure: str) -> ConfigError:
    return ConfigError((Problem(path, None, f"http.tls.{field}", what, cure),))


_log = Log("http")
