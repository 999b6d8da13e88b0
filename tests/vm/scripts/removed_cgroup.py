"""
Runs in the guest: what the batch readers say of files they hold open while the cgroup is removed and made again.

    removed_cgroup.py ROOT FILE=FORMAT...

Prints JSON: for each reader and step, each file's outcome and how often another file was found in its place.
"""

from __future__ import annotations

import json
import os
import sys

from plimsoll.kernel.batch import BatchReader, FileSpec, Format, native_available
from plimsoll.kernel.hostfs import Directory, HostFs

NAME = "plimsoll-removed"


def steps(directory: Directory, path: str, files: dict[str, str], *, native: bool) -> dict[str, object]:
    reader = BatchReader(native=native)
    # A KEYED file asks for no key: whether it can be read is the question here.
    slots = {
        name: reader.add(directory, f"{NAME}/{name}", FileSpec(name, Format[layout])) for name, layout in files.items()
    }
    seen: dict[str, object] = {}

    def look(step: str) -> None:
        reader.read()
        seen[step] = {name: [reader.outcome(slot).value, reader.generation(slot)] for name, slot in slots.items()}

    os.mkdir(path)
    look("made")
    os.rmdir(path)
    look("removed")
    look("still removed")
    os.mkdir(path)
    look("made again")
    # Removed and made between two passes: only the descriptor that is held tells, with ENODEV.
    os.rmdir(path)
    os.mkdir(path)
    look("replaced")
    os.rmdir(path)
    reader.close()
    return seen


def main() -> None:
    root, files = sys.argv[1], dict(pair.split("=") for pair in sys.argv[2:])
    answer = {}
    with HostFs("/") as host, host.directory(root) as directory:
        for native in (False, True) if native_available()[0] else (False,):
            answer["native" if native else "python"] = steps(directory, f"/{root}/{NAME}", files, native=native)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
