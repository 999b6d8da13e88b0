"""
What observing a node costs, against the least any program pays: a C loop of pread(2) on the same open files.

Everything compared is measured in one run, turn by turn, and told as medians and ratios; absolute times are for
orientation only and gate nothing. ``--profile`` shows where a whole observation spends its time.
"""

from __future__ import annotations

import argparse
import cProfile
import ctypes
import os
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from plimsoll.kernel.batch import BatchReader, Format, native_available
from plimsoll.kernel.batch_format import parse
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.outcome import Outcome
from plimsoll.model.pod import Pod
from plimsoll.sources.cgroups import PodCgroups, Scope
from tests.bench import nodes

REFERENCE = Path(__file__).with_name("reference.c")
TARGET = 1.3
SMALL, LARGE = (110, 330), (250, 1000)
TMPFS = Path("/dev/shm")

Loop = Callable[["array[int]"], int]


def compiled(folder: str) -> Loop:
    """The reference loop, built with the system's C compiler."""
    library = f"{folder}/reference.so"
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-shared", "-fPIC", str(REFERENCE), "-o", library], check=True)
    function = ctypes.CDLL(library).read_all
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_void_p, ctypes.c_long)

    def loop(descriptors: array[int]) -> int:
        address, count = descriptors.buffer_info()
        return int(function(address, count))

    return loop


class Node:
    """The observers of one node, all over the same files."""

    def __init__(self, root: str, pods: list[Pod], max_open: int) -> None:
        self.pods = pods
        self._stack = ExitStack()
        self._host = self._stack.enter_context(HostFs(root))
        self._hierarchies = self._stack.enter_context(Hierarchies.detect(self._host))
        self.native, self.observer = self._reader(max_open, native=True)
        self.python, self.python_observer = self._reader(max_open, native=False)
        self._now = 0.0
        self.observe()
        self.python_observer.observe(pods, 0.0)

    def _reader(self, max_open: int, *, native: bool) -> tuple[BatchReader, PodCgroups]:
        reader = BatchReader(max_open, native=native)
        observer = PodCgroups(self._hierarchies, reader, Scope(containers=True))
        self._stack.callback(reader.close)
        return reader, observer

    def observe(self) -> None:
        """A whole tick: look-ups that are due, one pass, samples."""
        self._now += 1.0
        self.observer.observe(self.pods, self._now)

    def decode(self) -> None:
        """Ask for everything that was read."""
        reader = self.native
        for slot, file in reader._files.items():
            if reader.outcome(slot) is not Outcome.OK:
                continue
            layout = file.spec.format
            if layout is Format.PSI:
                reader.psi(slot)
            elif layout is Format.VALUE:
                reader.value(slot)
            elif layout is Format.KEYED:
                reader.keyed(slot)
            else:
                reader.pressure_stat(slot)

    def descriptors(self) -> array[int]:
        """Those the native reader holds, in the order it reads them."""
        return array("i", reader_descriptors(self.native))

    def plain(self) -> None:
        """What a program without any of this does: open each file by its path, read, parse, close."""
        for file in self.native._files.values():
            with open(f"{file.directory.path}/{file.path}", "rb") as opened:
                parse(file.spec.format, file.wanted, opened.read())

    def close(self) -> None:
        self._stack.close()


def reader_descriptors(reader: BatchReader) -> list[int]:
    rows = reader._rows
    held = reader._open._held
    return [held[rows[row]] for row in sorted(rows) if rows[row] in held]


def medians(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Seconds per call, the median of many rounds in which each has its turn, in changing order."""
    taken: list[list[float]] = [[] for _ in calls]
    for round_ in range(rounds + 2):
        for turn in range(len(calls)):
            index = (turn + round_) % len(calls)
            begun = time.perf_counter()
            calls[index]()
            if round_ >= 2:
                taken[index].append(time.perf_counter() - begun)
    return [statistics.median(each) for each in taken]


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:8.3f} ms"


def measure(title: str, node: Node, loop: Loop, rounds: int) -> tuple[float, float]:
    """Print one node's figures; gives the seconds of a native pass and of a whole observation."""
    reader = node.native
    files = len(reader)
    well = sum(reader.outcome(slot) is Outcome.OK for slot in reader._files)
    descriptors = node.descriptors()
    size = loop(descriptors)
    print(f"\n{title}: {files} files, {well} read well, {len(descriptors)} held open, {size / 1e3:.0f} kB")
    bare, native = medians([lambda: loop(descriptors), reader.read], rounds)
    slow = max(5, rounds // 20)
    python, plain, decode, observe, observe_python = medians(
        [node.python.read, node.plain, node.decode, node.observe, lambda: node.python_observer.observe(node.pods, 1.0)],
        slow,
    )
    print(f"  C loop of pread          {ms(bare)}   {bare / len(descriptors) * 1e6:6.2f} us a file")
    print(f"  native pass              {ms(native)}   {native / files * 1e6:6.2f} us a file")
    if len(descriptors) == files:
        ratio = native / bare
        print(
            f"  native pass / C loop     {ratio:8.2f} x    target {TARGET} x: {'met' if ratio <= TARGET else 'missed'}"
        )
    else:
        print("  native pass / C loop            -      not every file may be held open")
    print(f"  Python pass, held open   {ms(python)}   {python / native:6.1f} x the native pass")
    print(f"  Python open, read, parse {ms(plain)}   {plain / native:6.1f} x the native pass")
    print(f"  decoding everything      {ms(decode)}")
    share = f"{observe / bare:6.1f} x the C loop; the native pass is {native / observe:.0%} of it"
    print(f"  whole observation        {ms(observe)}   {share}")
    print(f"  the same without C       {ms(observe_python)}")
    return native, observe


def profile(node: Node, rounds: int) -> None:
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(rounds):
        node.observe()
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(18)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    available, reason = native_available()
    if not available:
        print(f"the C reader is not available: {reason}", file=sys.stderr)
        return 1
    # Two readers hold every file of the largest node.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        build = stack.enter_context(tempfile.TemporaryDirectory())
        base = TMPFS if TMPFS.is_dir() and os.access(TMPFS, os.W_OK) else None
        loop = compiled(build)
        passes: dict[tuple[int, int], tuple[float, float]] = {}
        for (count, containers), bound in ((SMALL, 4096), (LARGE, 8192), (LARGE, 4096)):
            pods = nodes.pods(count, containers)
            with tempfile.TemporaryDirectory(dir=base) as root:
                nodes.folder(Path(root), pods)
                node = Node(root, pods, bound)
                where = "tmpfs" if base else "disk"
                title = f"folder on {where}, {count} pods, {containers} containers, at most {bound} open"
                found = measure(title, node, loop, options.rounds)
                passes.setdefault((count, containers), found)
                if options.profile and (count, containers) == SMALL:
                    profile(node, 20)
                node.close()
        for (count, containers), bound in ((SMALL, 4096), (LARGE, 8192)):
            pods = nodes.pods(count, containers)
            with nodes.real(pods) as usable:
                if not usable:
                    print("\nreal cgroups: not measured, no hierarchy here may be written or a kubelet uses it")
                    break
                node = Node("/", pods, bound)
                measure(f"real cgroups, {count} pods, {containers} containers", node, loop, options.rounds // 4)
                node.close()
        growth = [passes[LARGE][index] / passes[SMALL][index] for index in (0, 1)]
        print(
            f"\n{LARGE[0]} pods and {LARGE[1]} containers against {SMALL[0]} and {SMALL[1]}: "
            f"{growth[0]:.2f} x the native pass, {growth[1]:.2f} x the whole observation"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
