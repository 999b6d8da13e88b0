"""Which kernel this is: its release, the options it was built with as far as they can be read, its boot arguments."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import read_command_line, read_os_release

# A distribution's configuration is about 300 KiB of text.
_CONFIG_LIMIT = 4 << 20
_VERSION = re.compile(r"(\d+)\.(\d+)", re.ASCII)
_RELEASE = re.compile(r"[\w.+~-]+", re.ASCII)
# 5.10.0-136.12.0.86.oe2203sp1.x86_64
_OPENEULER = re.compile(r"\.oe\d", re.ASCII)
_OPTION = re.compile(r"^(CONFIG_\w+)=(.*)$", re.ASCII | re.MULTILINE)


class KernelBuild(NamedTuple):
    """
    ``options`` holds the options that are set, by name with ``CONFIG_``; ``None`` when no configuration can be read,
    as is usual inside a container. ``arguments`` is ``None`` when the boot arguments cannot be read.
    """

    release: str | None = None
    options: Mapping[str, str] | None = None
    arguments: tuple[str, ...] | None = None

    @classmethod
    def read(cls, host: HostFs) -> KernelBuild:
        """Ask the host's ``/proc``, and ``/boot`` and ``/lib/modules`` where the kernel does not embed its options."""
        release = read_os_release(host)
        return cls(release, _options(host, release), read_command_line(host))

    @property
    def version(self) -> tuple[int, int] | None:
        match = _VERSION.match(self.release or "")
        return None if match is None else (int(match[1]), int(match[2]))

    @property
    def openeuler(self) -> bool:
        """Whether this is an openEuler kernel, by its release: only for words to a person, never to decide."""
        return _OPENEULER.search(self.release or "") is not None

    def older_than(self, major: int, minor: int) -> bool:
        """False also when the version is unknown."""
        return self.version is not None and self.version < (major, minor)

    def lacks(self, option: str) -> bool:
        """Whether the kernel is known to be built without ``option``; false also when that is unknown."""
        return self.options is not None and self.options.get(option) not in ("y", "m")

    def missing_arguments(self, *wanted: str) -> tuple[str, ...]:
        """Those of ``wanted`` not among the boot arguments; all of them when those are unknown."""
        return tuple(each for each in wanted if each not in (self.arguments or ()))


def _options(host: HostFs, release: str | None) -> Mapping[str, str] | None:
    packed = host.read("proc/config.gz").data
    if packed is not None:
        try:
            # 16 + the largest window: a gzip header is expected.
            data = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(packed, _CONFIG_LIMIT)
        except zlib.error:
            return None
        return _parse(data)
    if release is None or _RELEASE.fullmatch(release) is None:
        return None
    for path in (f"boot/config-{release}", f"lib/modules/{release}/config"):
        plain = host.read(path).data
        if plain is not None:
            return _parse(plain)
    return None


def _parse(data: bytes) -> Mapping[str, str]:
    return dict(_OPTION.findall(data.decode("ascii", "replace")))
