"""
Who saves most memory for a second of waiting: no controller, the laws of others, and ours, on one load and one kernel.

    python -m tests.bench.overcommit --controllers none,oomd,plain --minutes 5,10 --seeds 1,2,3

Each run has a guest of its own (root, Debian packages). The load, its seeds and the device are the same for all. Ratios
to one of them are what may be compared between machines; the seconds are those of an emulated processor.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.bench.overcommit.figures import Run, change_table, table
from tests.bench.overcommit.guest_run import CONTROLLERS, OURS, Load, Terms, build, check, run
from tests.vm.image import image


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--controllers", default=",".join(CONTROLLERS), help=f"of: {', '.join(CONTROLLERS)}")
    parser.add_argument("--minutes", default="5", help="where to look, the last one being where the load changes")
    parser.add_argument("--after", type=float, default=2.0, help="minutes after the change")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--parts", default="64,32,160", help="MiB that are hot, warm and cold")
    parser.add_argument(
        "--warm-seconds", type=float, default=Load().warm_seconds, help="between two uses of a warm page"
    )
    parser.add_argument("--flip", type=int, default=Load().flip, help="MiB of the cold part that become hot")
    parser.add_argument("--ratio", type=float, default=2.6, help=f"of {', '.join(OURS)}")
    parser.add_argument("--kernel", default="6.12")
    parser.add_argument("--classic", action="store_true", help="without the multi-generational LRU")
    parser.add_argument("--readahead", action="store_true", help="with the kernel's own swap readahead")
    parser.add_argument("--pods", type=int, default=1, help="each with all the parts")
    parser.add_argument("--file", type=int, default=0, help="MiB of page cache of each pod, a quarter of it in use")
    parser.add_argument("--basis", choices=("anon", "total"), default="anon", help=f"of {', '.join(OURS)}")
    parser.add_argument("--huge", action="store_true", help="memory in huge pages")
    parser.add_argument("--zram", action="store_true", help="swap in compressed memory, which counts as not saved")
    parser.add_argument("--operations", type=int, default=0, help="a disk that does so many a second")
    parser.add_argument("--latency", type=int, default=0, help="a disk that answers after so many us of the guest's")
    parser.add_argument(
        "--counted", action="store_true", help="by a clock that counts instructions: repeatable, and faster where idle"
    )
    parser.add_argument("--lines", type=Path, help="a folder for each run's lines")
    said = parser.parse_args()
    hot, warm, cold = (int(each) for each in said.parts.split(","))
    terms = Terms(
        Load(hot, warm, cold, said.warm_seconds, flip=said.flip, file=said.file, huge=said.huge),
        tuple(sorted(float(each) for each in said.minutes.split(","))),
        said.after,
        said.kernel,
        said.ratio,
        said.classic,
        said.readahead,
        said.pods,
        said.zram,
        said.operations,
        said.latency,
        said.basis,
        said.counted,
    )
    controllers = said.controllers.split(",")
    if terms.counted and not (terms.zram or terms.latency):
        parser.error("--counted goes with --zram or --latency: a disk of the host's knows nothing of that clock")
    try:
        check(controllers)
    except ValueError as error:
        parser.error(str(error))
    found = image()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        # Seed by seed: what else the machine does meanwhile hits all controllers alike.
        for seed in said.seeds.split(","):
            for controller in controllers:
                print(f"{controller}, seed {seed} ...", file=sys.stderr, flush=True)
                result, lines = run(found, program, controller, int(seed), terms)
                runs.append(result)
                if said.lines is not None:
                    said.lines.mkdir(parents=True, exist_ok=True)
                    text = "".join(f"{json.dumps(each)}\n" for each in lines)
                    (said.lines / f"{controller}-{seed}.jsonl").write_text(text)
    for mark in terms.marks:
        print("\n".join(table(runs, mark, terms.ideal)), end="\n\n")
    print("\n".join(change_table(runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
