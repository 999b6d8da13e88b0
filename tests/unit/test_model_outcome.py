"""Every errno a kernel file answers with has a meaning of its own."""

from __future__ import annotations

import errno

import pytest

from plimsoll.model.outcome import Outcome, outcome_of


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, Outcome.OK),
        (errno.ENODEV, Outcome.GONE),
        (errno.ENOENT, Outcome.MISSING),
        (errno.EROFS, Outcome.DENIED),
        (errno.EINVAL, Outcome.REJECTED),
        (errno.EAGAIN, Outcome.BUSY),
        (errno.EOPNOTSUPP, Outcome.UNSUPPORTED),
        (errno.EXDEV, Outcome.ESCAPED),
        (errno.EBADMSG, Outcome.MALFORMED),
        (errno.EIO, Outcome.FAILED),
        (12345, Outcome.FAILED),
    ],
)
def test_errno_to_outcome(code, outcome):
    """The table of the house, and the rule for an errno nobody thought of."""
    assert outcome_of(code) is outcome
