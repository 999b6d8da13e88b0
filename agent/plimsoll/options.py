"""What the command line says, for whoever needs it."""

from __future__ import annotations

from dataclasses import dataclass

RECORD_BYTES = 256 << 20
"""How large a recording becomes at most unless somebody says otherwise."""
LOCK_WAIT = 30.0
"""How many seconds an agent waits for the one before it, unless somebody says otherwise: a restore takes ten."""


@dataclass(frozen=True, slots=True)
class Options:
    """
    What the command line says.

    ``pods`` names a folder of manifests, ``kubeconfig`` a file; with neither, pods come from the API server of the
    cluster this runs in. ``record`` names a file for snapshots, which gets at most ``record_bytes`` large.
    ``lock_wait``: for how many seconds another agent on this node may go on before that is an error.
    """

    pods: str | None = None
    kubeconfig: str | None = None
    root: str = "/"
    config: str | None = None
    node_name: str = ""
    listen: str | None = None
    state_dir: str = "/run/plimsoll"
    duration: float | None = None
    record: str | None = None
    record_bytes: int = RECORD_BYTES
    lock_wait: float = 0.0
