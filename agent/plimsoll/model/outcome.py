"""
What the kernel answered.

Errors are data on the hot path: a vanished cgroup or a missing file is an everyday answer, so readers return an
:class:`Outcome` instead of raising. Only this module maps errno values; nothing else compares error texts.
"""

from __future__ import annotations

import errno
from enum import StrEnum


class Outcome(StrEnum):
    """The answer to one kernel read or write. The values are label values of metrics: keep them stable."""

    OK = "ok"
    GONE = "gone"  # the cgroup vanished: ENODEV from a file held open; looked for again it is MISSING
    MISSING = "missing"  # ENOENT: this kernel, or this cgroup, does not have the file
    DENIED = "denied"  # EACCES, EPERM, EROFS
    REJECTED = "rejected"  # EINVAL, ERANGE, E2BIG: the kernel does not take this value
    BUSY = "busy"  # EBUSY, EAGAIN, EINTR: may pass later
    UNSUPPORTED = "unsupported"  # EOPNOTSUPP: the file is there, the feature is off (openEuler's pressure.stat)
    NOSPACE = "nospace"  # ENOSPC
    ESCAPED = "escaped"  # the path left the tree it must stay in: EXDEV, ELOOP
    MALFORMED = "malformed"  # read, but not in a format this version knows
    STUCK = "stuck"  # no answer before the deadline
    OFFLINE = "offline"  # of what sets frequencies: none of its CPUs is on line, so neither read nor written
    FAILED = "failed"  # any other errno
    # Only of writes:
    UNCHANGED = "unchanged"  # the value stood there already: nothing was written
    CLAMPED = "clamped"  # the kernel took the write and keeps another value
    DRIFTED = "drifted"  # somebody else changed the knob; not written in this tick
    HELD = "held"  # not tried: no journal, no budget, or given up on this knob
    # Only of reclaims:
    EXCEEDED = "exceeded"  # more came than was asked for: the kernel had to look far, and the rest was not asked for
    # Only of evictions:
    BUDGET = "budget"  # a PodDisruptionBudget does not let it now


_BY_ERRNO = {
    0: Outcome.OK,
    errno.ENOENT: Outcome.MISSING,
    errno.ENOTDIR: Outcome.MISSING,
    errno.ENODEV: Outcome.GONE,
    errno.EACCES: Outcome.DENIED,
    errno.EPERM: Outcome.DENIED,
    errno.EROFS: Outcome.DENIED,
    errno.EINVAL: Outcome.REJECTED,
    errno.ERANGE: Outcome.REJECTED,
    errno.E2BIG: Outcome.REJECTED,
    errno.EBUSY: Outcome.BUSY,
    errno.EAGAIN: Outcome.BUSY,
    errno.EINTR: Outcome.BUSY,
    errno.EOPNOTSUPP: Outcome.UNSUPPORTED,
    errno.ENOSPC: Outcome.NOSPACE,
    errno.EXDEV: Outcome.ESCAPED,
    errno.ELOOP: Outcome.ESCAPED,
    errno.EBADMSG: Outcome.MALFORMED,
    errno.ETIMEDOUT: Outcome.STUCK,
}


def outcome_of(code: int) -> Outcome:
    """Map an errno value (0 for success) to its outcome; an errno without a rule of its own is ``FAILED``."""
    return _BY_ERRNO.get(code, Outcome.FAILED)
