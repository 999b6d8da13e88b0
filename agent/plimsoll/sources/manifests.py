"""
Pods from a folder of YAML files: the same pods, without a cluster.

The folder is read again when a file changes. A file that cannot be read keeps its last good pods: an editor that is
half-way through must not look like a deletion.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from plimsoll.config.annotations import intent
from plimsoll.config.pod_object import PodRejected, decode
from plimsoll.config.problem import ConfigError
from plimsoll.config.schema import PrioritySection
from plimsoll.config.yaml_text import MAX_BYTES, load_all
from plimsoll.log import Event, Log
from plimsoll.model.pod import Pod, PodObject
from plimsoll.model.snapshot import PodSet, SourceState

_POISON_SHOWN = 20


class _File(NamedTuple):
    signature: tuple[int, int, int]
    pods: tuple[PodObject, ...]
    poison: tuple[tuple[str, str, str], ...]


class ManifestPods:
    """The pods of ``directory``. ``clock`` gives monotonic seconds."""

    def __init__(self, directory: str, *, clock: Callable[[], float]) -> None:
        """Raises NotADirectoryError or FileNotFoundError when there is no such folder."""
        os.listdir(directory)
        self._directory = directory
        self._clock = clock
        self._files: dict[str, _File] = {}
        self._emptied: dict[str, tuple[int, int, int]] = {}
        self._errors: dict[str, int] = {}
        self._detail = ""
        self._good: float | None = None
        self._pods: tuple[Pod, ...] = ()
        self._made_of: tuple[object, ...] = ()

    def start(self) -> None:
        """Nothing runs in the background: :meth:`observe` looks at the folder."""

    def stop(self) -> None:
        """Nothing to stop."""

    def wait_complete(self, seconds: float) -> bool:  # noqa: ARG002 - a folder is there or is not
        """The folder is read by :meth:`observe`: nothing to wait for."""
        return True

    def observe(self, priority: PrioritySection) -> PodSet:
        """The pods as the files say now."""
        now = self._clock()
        self._detail = ""
        self._read_folder()
        if not self._detail:
            self._good = now
        objects = self._unique()
        made_of: tuple[object, ...] = (priority, *objects)
        if len(made_of) != len(self._made_of) or any(
            new is not old for new, old in zip(made_of, self._made_of, strict=True)
        ):
            self._made_of = made_of
            self._pods = tuple(Pod(each, intent(each, priority)) for each in objects)
        state = SourceState(
            name="manifests",
            ok=not self._detail,
            complete=self._good is not None,
            age_seconds=None if self._good is None else now - self._good,
            detail=self._detail,
            errors=dict(self._errors),
        )
        poison = tuple(each for file in self._files.values() for each in file.poison)
        return PodSet(self._pods, state, poison[:_POISON_SHOWN])

    def _unique(self) -> list[PodObject]:
        found: dict[str, PodObject] = {}
        for name in sorted(self._files):
            for each in self._files[name].pods:
                found.setdefault(each.uid, each)
        return list(found.values())

    def _read_folder(self) -> None:
        try:
            names = [name for name in os.listdir(self._directory) if name.endswith((".yaml", ".yml", ".json"))]
        except OSError as error:
            self._fail("folder", f"{self._directory}: {error.strerror}")
            return
        for gone in self._files.keys() - set(names):
            del self._files[gone]
            self._emptied.pop(gone, None)
        for name in sorted(names):
            self._read_file(name)

    def _read_file(self, name: str) -> None:
        path = f"{self._directory}/{name}"
        try:
            found = os.stat(path)
            signature = (found.st_ino, found.st_size, found.st_mtime_ns)
            known = self._files.get(name)
            if known is not None and known.signature == signature:
                return
            if known is not None and known.pods and not found.st_size and self._emptied.get(name) != signature:
                # Whoever writes a file in its place empties it first: that is no deletion until it stays so.
                self._emptied[name] = signature
                return
            self._emptied.pop(name, None)
            with open(path, "rb") as file:
                text = file.read(MAX_BYTES + 1).decode("utf-8")
            documents = load_all(text, file=path)
        except ConfigError as error:
            self._fail("yaml", str(error))
            return
        except (OSError, UnicodeDecodeError) as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
                # Removed since the folder was listed, and not a link that leads nowhere.
                self._files.pop(name, None)
            else:
                self._fail("file", f"{path}: {error}")
            return
        pods: list[PodObject] = []
        poison: list[tuple[str, str, str]] = []
        for document in documents:
            for raw in _objects(document.data):
                decoded = decode(raw)
                if isinstance(decoded, PodRejected):
                    where = f"{name}: {decoded.namespace}/{decoded.name}"
                    poison.append((where, decoded.reason, decoded.message))
                    self._errors["pod-rejected"] = self._errors.get("pod-rejected", 0) + 1
                    _log.warning(
                        Event.POD_REJECTED, pod=where, reason=decoded.reason, message=decoded.message, limit=where
                    )
                else:
                    pods.append(decoded)
        self._files[name] = _File(signature, tuple(pods), tuple(poison))

    def _fail(self, reason: str, detail: str) -> None:
        self._errors[reason] = self._errors.get(reason, 0) + 1
        self._detail = detail
        _log.warning(Event.SOURCE_FAILED, source="manifests", reason=reason, detail=detail, limit=detail[:64])


def _objects(data: object) -> list[object]:
    if isinstance(data, dict) and data.get("kind") in ("List", "PodList"):
        items = data.get("items")
        return [each for item in items for each in _objects(item)] if isinstance(items, list) else []
    if isinstance(data, dict) and data.get("kind") in ("Pod", None):
        return [data]
    # Other kinds may stand in the same files: a Service is not a mistake.
    return []


_log = Log("manifests")
