"""
The kernel's own intel-speed-select, built from Debian's kernel source for the guest, once, and kept.

Owns the recipe. The sources are fetched with the host's apt from the mirrors that the guest is made from; nothing of
them is in this repository. The program is linked statically: the guest need not have this machine's libc. What listens
to the firmware's events (``--oob``) needs libnl and is left out.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.debian import RECIPE, ImageError, require_programs, run
from tests.kept import digest, kept
from tests.vm import apt
from tests.vm.image import SUITE

PACKAGE = "linux-source-6.12"
PROGRAM = "intel-speed-select"
_SOURCES = "tools/power/x86/intel-speed-select"
_HEADER = "include/uapi/linux/isst_if.h"
# In the place of hfi-events.c.
_NO_EVENTS = "int hfi_main(void) { return -1; }\nvoid hfi_exit(void) { }\n"
# The Debian package that has each program needed.
_PROGRAMS = {"apt-get": "apt", "dpkg-deb": "dpkg", "gcc": "gcc", "tar": "tar", "xz": "xz-utils"}


def tool() -> Path:
    """The program, built first if the cache has none. Raises ImageError."""
    require_programs(_PROGRAMS, f"building {PROGRAM}")
    key = digest(*(path.read_bytes() for path in (Path(__file__), *RECIPE)))
    return kept("isst-tool", key, _build) / PROGRAM


def _build(folder: Path) -> None:
    tree, include = folder / "tree", folder / "include/linux"
    archive = _download(folder)
    tree.mkdir()
    names = [f"{PACKAGE}/{each}" for each in (_SOURCES, _HEADER)]
    inner = f"./usr/src/{PACKAGE}.tar.xz"
    unpack = 'dpkg-deb --fsys-tarfile "$1" | tar -xO "$2" | tar -xJ -C "$3" "${@:4}"'
    run(["bash", "-o", "pipefail", "-c", unpack, "-", str(archive), inner, str(tree), *names])
    sources = tree / PACKAGE / _SOURCES
    include.mkdir(parents=True)
    shutil.copy(tree / PACKAGE / _HEADER, include)
    (sources / "hfi-events.c").write_text(_NO_EVENTS)
    command = ["gcc", "-O2", "-w", "-D_GNU_SOURCE", f"-I{folder / 'include'}", "-static"]
    run([*command, *map(str, sorted(sources.glob("*.c"))), "-o", str(folder / PROGRAM)])
    for leftover in (archive, tree, folder / "include", folder / "apt"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _download(folder: Path) -> Path:
    """The source package, by an apt that has its own lists: the host's need not be of this release, nor fresh."""
    state = folder / "apt"
    for each in ("lists/partial", "cache/archives/partial"):
        (state / each).mkdir(parents=True)
    sources = state / "debian.sources"
    try:
        sources.write_text(apt.sources(SUITE))
    except apt.AptError as error:
        raise ImageError(str(error)) from error
    configuration = state / "apt.conf"
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": state / "lists",
        "Dir::Cache": state / "cache",
        "APT::Sandbox::User": "root",
    }
    lines = [*(f'{name} "{value}";' for name, value in options.items()), *apt.options()]
    configuration.write_text("\n".join(lines))
    command = ["apt-get", "-qq", "-c", str(configuration)]
    run([*command, "update"])
    # It is put where one is.
    run(["env", "-C", str(folder), *command, "download", PACKAGE], name="apt-get")
    (archive,) = folder.glob("*.deb")
    return archive


if __name__ == "__main__":
    print(tool())
