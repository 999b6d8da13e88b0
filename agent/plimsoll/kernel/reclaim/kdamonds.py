"""
``/sys/kernel/mm/damon/admin/kdamonds``: the kernel's data access monitors, their one tree for the whole node.

Owns where things are in it and whose it is (Documentation/admin-guide/mm/damon/usage.rst; a stable interface). A
``kdamond`` is a kernel thread with one context and one scheme here. It must not know which memory is wanted, nor when.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from plimsoll.kernel.hostfs import Directory, HostFs
from plimsoll.model.kdamonds import CLAIMED, NONE, OWNER, UNMARKED, WORKERS
from plimsoll.model.outcome import Outcome, outcome_of

FOLDER = "sys/kernel/mm/damon/admin/kdamonds"
COUNT = f"{FOLDER}/nr_kdamonds"
# Loadable or built in, they use DAMON without the tree, and nobody else can meanwhile.
MODULES = ("damon_reclaim", "damon_lru_sort")
_MARKED = WORKERS
_MARK = f"{FOLDER}/{_MARKED}/contexts/0/schemes/0/filters/0/memcg_path"
_OFF, _ON, _COMMIT = b"off\n", b"on\n", b"commit\n"
_NEVER = (1 << 32) - 1
_WHOLE = (1 << 64) - 1

Range = tuple[int, int]
"""Physical addresses, the end exclusive."""
Act = Callable[[Directory], tuple[Outcome, int]]
"""What is done with one kdamond's directory, and what comes of it."""


class Task(NamedTuple):
    """
    What one kdamond does with ranges that were idle for ``age`` intervals: page out what was not used since the last
    time, or only note it, if ``marking``, for the next time to know.

    ``quota``: bytes of all memory it may look at in an interval to act upon them, whoever they belong to; 0 is none.
    """

    age: int
    quota: int
    marking: bool = False


class Setting(NamedTuple):
    """
    What one kdamond shall look at: memory of the cgroup at ``cgroup``, of ``ranges``.

    Every ``sample_seconds`` it looks at one page of each range, every ``interval_seconds`` it reckons and acts.
    """

    cgroup: str
    ranges: Sequence[Range]
    task: Task
    sample_seconds: int
    interval_seconds: int


class Kdamonds:
    """
    The tree of one host. Nothing is held open between calls; whatever is answered is an outcome.

    Others write to it, too, and do not ask. What is started, changed or stopped is reached by the directory that was
    there when all of them were ours (:meth:`_of_ours`), never by its name: that may have become somebody else's.
    """

    def __init__(self, host: HostFs) -> None:
        self._host = host

    def standing(self) -> tuple[Outcome, str]:
        """
        How many there are and, where it is there, our mark: as in ``model/kdamonds.py``.

        BUSY, and only how many, while the kernel is at work on any of them: kernels that protect the paths of filters
        (6.16, and stable ones since) do not show them meanwhile, and a mark that is not shown may well be ours.
        """
        reading = self._host.read(COUNT)
        count = (reading.text() or "").strip()
        if reading.outcome is not Outcome.OK or not count.isdecimal():
            return (Outcome.MALFORMED if reading.outcome is Outcome.OK else reading.outcome), ""
        mark = self._host.read(_MARK)
        if mark.outcome not in (Outcome.OK, Outcome.MISSING, Outcome.GONE):
            return mark.outcome, count
        return Outcome.OK, f"{count} {OWNER}" if (mark.text() or "").strip() == OWNER else count

    @property
    def claimed(self) -> bool | None:
        """Whether all of them are ours; ``None`` where that is not known for now."""
        outcome, found = self.standing()
        return None if outcome is Outcome.BUSY else (outcome, found) == (Outcome.OK, CLAIMED)

    def claim(self) -> tuple[Outcome, int]:
        """Make them ours if there are none; HELD where somebody else has some."""
        outcome, found = self.standing()
        if outcome is not Outcome.OK or found == CLAIMED:
            return outcome, 0
        if found == NONE:
            answer = self._host.write(COUNT, f"{WORKERS + 1}\n".encode("ascii"))
            if answer[0] is not Outcome.OK:
                return answer
        elif not self._blank():
            return Outcome.HELD, 0
        contexts = f"{FOLDER}/{_MARKED}/contexts"
        return _put(
            self._host,
            (
                (f"{contexts}/nr_contexts", 1),
                (f"{contexts}/0/schemes/nr_schemes", 1),
                (f"{contexts}/0/schemes/0/filters/nr_filters", 1),
                (f"{contexts}/0/schemes/0/filters/0/memcg_path", OWNER),
            ),
        )

    def release(self) -> tuple[Outcome, int]:
        """Stop all that is ours and leave none; HELD where it is somebody else's."""
        outcome, found = self.standing()
        if outcome is not Outcome.OK or found == NONE:
            return outcome, 0
        if found != CLAIMED and not self._blank():
            return Outcome.HELD, 0
        for number in range(WORKERS):
            answer = self.off(number)
            if answer[0] is not Outcome.OK:
                return answer
        # Their number has but one file for everybody: at least nobody took them while ours were stopped.
        outcome, now = self.standing()
        if (outcome, now) != (Outcome.OK, found):
            return (Outcome.HELD if outcome is Outcome.OK else outcome), 0
        return self._host.write(COUNT, f"{NONE}\n".encode("ascii"))

    def running(self, number: int) -> bool | None:
        """Whether this one runs; ``None`` where that is not known."""
        return _running(self._host, f"{FOLDER}/{number}/")

    def start(self, number: int, setting: Setting) -> tuple[Outcome, int]:
        """
        Set this one up anew and let it run.

        REJECTED where the cgroup is gone; BUSY beside other users of DAMON; HELD where the tree is somebody else's.
        """

        def begin(kdamond: Directory) -> tuple[Outcome, int]:
            answer = _put(kdamond, _setup(setting))
            if answer[0] is Outcome.OK:
                answer = kdamond.write("state", _ON)
            if answer[0] is Outcome.OK:
                # A later commit would lay the regions out anew, and all that is known of them would be lost.
                answer = _put(kdamond, (("contexts/0/targets/0/regions/nr_regions", 0),))
            return answer

        return self._of_ours(number, begin)

    def change(self, number: int, task: Task) -> tuple[Outcome, int]:
        """
        Let a running one go on with this; what it knows is kept. Blocks for up to an interval.

        GONE: it has stopped instead, as it does when its cgroup is no more. HELD where it is somebody else's.
        """

        def go_on(kdamond: Directory) -> tuple[Outcome, int]:
            answer = _put(kdamond, _task(task))
            if answer[0] is Outcome.OK:
                answer = kdamond.write("state", _COMMIT)
            # The kernel says yes also where it could not go on.
            return (Outcome.GONE, 0) if answer[0] is Outcome.OK and _running(kdamond) is False else answer

        return self._of_ours(number, go_on)

    def off(self, number: int) -> tuple[Outcome, int]:
        """Stop this one, at once. OK where it did not run."""
        if self.running(number) is False:
            return Outcome.OK, 0

        def end(kdamond: Directory) -> tuple[Outcome, int]:
            answer = kdamond.write("state", _OFF)
            # One that ended by itself meanwhile refuses to be stopped.
            return answer if answer[0] is Outcome.OK or _running(kdamond) is not False else (Outcome.OK, 0)

        # It is the brake: it comes through also while it is not shown whose they are.
        return self._of_ours(number, end, unsure=True)

    def _blank(self) -> bool:
        """Whether they are as :meth:`claim` leaves them when it is killed: as many, and nothing in any worker."""
        if self.standing() != (Outcome.OK, UNMARKED):
            return False
        files = (f"{FOLDER}/{number}/contexts/nr_contexts" for number in range(WORKERS))
        return all(self._host.read(each).data == b"0\n" for each in files)

    def _of_ours(self, number: int, act: Act, *, unsure: bool = False) -> tuple[Outcome, int]:
        """
        What ``act`` comes to on the directory of this one, if all of them are ours; HELD if not.

        BUSY while that is not known, unless it shall go on ``unsure``.
        """
        try:
            kdamond = self._host.directory(f"{FOLDER}/{number}")
        except OSError as error:
            code = error.errno or errno.EIO
            return outcome_of(code), code
        with kdamond:
            # After opening: whoever makes the tree theirs from here on takes this directory out of it.
            claimed = self.claimed
            if claimed or (claimed is None and unsure):
                return act(kdamond)
        return (Outcome.BUSY if claimed is None else Outcome.HELD), 0


def _running(kdamond: Directory, below: str = "") -> bool | None:
    return {"on": True, "off": False}.get((kdamond.read(f"{below}state").text() or "").strip())


def _put(directory: Directory, values: Iterable[tuple[str, int | str]]) -> tuple[Outcome, int]:
    for path, value in values:
        answer = directory.write(path, f"{value}\n".encode("ascii"))
        if answer[0] is not Outcome.OK:
            return answer
    return Outcome.OK, 0


def _setup(setting: Setting) -> list[tuple[str, int | str]]:
    """What is written to set one up, file by file. Made anew, all that is not written here is 0 or empty."""
    context = "contexts/0"
    attributes, regions = f"{context}/monitoring_attrs", f"{context}/targets/0/regions"
    scheme = f"{context}/schemes/0"
    pattern, filters = f"{scheme}/access_pattern", f"{scheme}/filters"
    count = len(setting.ranges)
    return [
        ("contexts/nr_contexts", 0),
        ("contexts/nr_contexts", 1),
        (f"{context}/operations", "paddr"),
        (f"{attributes}/intervals/sample_us", setting.sample_seconds * 1_000_000),
        (f"{attributes}/intervals/aggr_us", setting.interval_seconds * 1_000_000),
        (f"{attributes}/intervals/update_us", 6 * setting.interval_seconds * 1_000_000),
        # More than half of the most are there from the start, so none is split; two together would be larger than the
        # whole divided by the fewest, so none are merged: the layout stays as it is made here.
        (f"{attributes}/nr_regions/max", max(10, 2 * count - 2)),
        (f"{attributes}/nr_regions/min", max(3, count - count // 50)),
        (f"{context}/targets/nr_targets", 1),
        (f"{regions}/nr_regions", count),
        *(
            pair
            for place, (start, end) in enumerate(setting.ranges)
            for pair in ((f"{regions}/{place}/start", start), (f"{regions}/{place}/end", end))
        ),
        (f"{context}/schemes/nr_schemes", 1),
        (f"{scheme}/action", "pageout"),
        (f"{pattern}/sz/max", _WHOLE),
        (f"{pattern}/nr_accesses/max", 0),
        (f"{pattern}/age/max", _NEVER),
        (f"{scheme}/quotas/reset_interval_ms", setting.interval_seconds * 1000),
        (f"{filters}/nr_filters", 4),
        # A page is passed by if any filter says so: those of other cgroups, and those that are not anonymous. Should
        # the number of a cgroup that is gone be given to another pod, that one has no swap to lose them to.
        (f"{filters}/0/type", "memcg"),
        (f"{filters}/0/memcg_path", f"/{setting.cgroup}"),
        (f"{filters}/0/matching", "N"),
        (f"{filters}/1/type", "anon"),
        (f"{filters}/1/matching", "N"),
        # One that was used is passed by, too, and is no longer one that was used: so the kernel does by itself where no
        # filter asks for it. What comes after it decides only about those that were not.
        (f"{filters}/2/type", "young"),
        (f"{filters}/2/matching", "Y"),
        (f"{filters}/3/type", "anon"),
        *_task(setting.task),
    ]


def _task(task: Task) -> tuple[tuple[str, int | str], ...]:
    scheme = "contexts/0/schemes/0"
    # A quota of 0 is none at all to the kernel, so what may take nothing looks for an age that nothing has.
    return (
        (f"{scheme}/access_pattern/age/min", task.age if task.quota else _NEVER),
        (f"{scheme}/quotas/bytes", max(task.quota, 1)),
        # Passing by all anonymous pages, there is nothing left to page out.
        (f"{scheme}/filters/3/matching", "Y" if task.marking else "N"),
    )
