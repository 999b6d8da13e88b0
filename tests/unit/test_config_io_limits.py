"""What an owner may write of disks, in both vocabularies, and what is told of a text that cannot be followed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.config.annotations import IO_LIMIT_KEY, RUBIK_IO_LIMIT_KEY, intent
from plimsoll.config.io_limits import OWN_EXAMPLE, RUBIK_EXAMPLE, parse_own, parse_rubik
from plimsoll.config.schema import PrioritySection
from plimsoll.model.disk import MOST, IoLimit, IoRate
from plimsoll.model.pod import PodIntent, PodObject, QosClass

MI = 1 << 20
RATES = st.builds(IoRate, *(st.none() | st.integers(1, MOST) for _ in range(4)))


def said(**annotations: str) -> PodIntent:
    keys = {"own": IO_LIMIT_KEY, "rubik": RUBIK_IO_LIMIT_KEY}
    texts = {keys[name]: text for name, text in annotations.items()}
    pod = PodObject(
        "11111111-2222-3333-4444-000000000001",
        "shop",
        "web",
        QosClass.BURSTABLE,
        "Running",
        False,
        False,
        None,
        (),
        annotations=texts,
    )
    return intent(pod, PrioritySection())


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (OWN_EXAMPLE, (("/dev/vdb", (10 * MI, 5 * MI, None, None)), ("/dev/vdc", (None, None, 500, None)))),
        ("8:16 wiops=1k", (("8:16", (None, None, None, 1000)),)),
        (" ;/dev/mapper/data\trbps=1;; ", (("/dev/mapper/data", (1, None, None, None)),)),
        ("/dev/vdb rbps=max", ()),
        ("", ()),
    ],
)
def test_own_words(text: str, limits: tuple[tuple[str, tuple[int | None, ...]], ...]) -> None:
    """Quantities as everywhere in Kubernetes; what is not named, or is max, is not limited."""
    assert parse_own(text) == tuple(IoLimit(device, IoRate(*rate)) for device, rate in limits)


def test_rubik_words() -> None:
    """rubik's annotation works as it is, also a number where rubik wants text, and 0 for no limit."""
    text = json.dumps(
        {
            "device_read_bps": [{"device": "/dev/sda", "value": "1048576"}, {"device": "8:16", "value": "5"}],
            "device_write_iops": [{"device": "/dev/sda", "value": 200}],
            "device_read_iops": [{"device": "8:32", "value": "0"}],
        }
    )
    assert parse_rubik(text) == (
        IoLimit("/dev/sda", IoRate(rbps=MI, wiops=200)),
        IoLimit("8:16", IoRate(rbps=5)),
    )
    assert parse_rubik(RUBIK_EXAMPLE) == (IoLimit("/dev/vdb", IoRate(rbps=10 * MI)),)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("/dev/vdb", "/dev/vdb has no rate"),
        ("/dev/vdb rbps", "rbps of /dev/vdb is no rate"),
        ("/dev/vdb rbps=fast", "rbps of /dev/vdb is no rate"),
        ("/dev/vdb rbps=-1", "(negative)"),
        ("/dev/vdb rbps=0", "a pod without any I/O hangs"),
        ("/dev/vdb rbps=1 rbps=2", "rbps of /dev/vdb is there twice"),
        ("/dev/vdb rbps=1; /dev/vdb wbps=1", "/dev/vdb is there twice"),
        ("/dev/vdb speed=1", "'speed=1' is no rate"),
        ("/dev/../etc/passwd rbps=1", "names no disk"),
        ("/dev/disk/by-id/x rbps=1", "names no disk"),
        ("vdb rbps=1", "names no disk"),
        ("8:0:0 rbps=1", "names no disk"),
        ("; ".join(f"8:{each} rbps=1" for each in range(17)), "17 disks are too many"),
    ],
)
def test_own_mistakes(text: str, part: str) -> None:
    """Every mistake names what was wrong; the owner gets an example with it, and no limit is made of half a text."""
    found = said(own=text)

    assert found.io_limits is None
    (rejected,) = found.rejected
    assert (rejected.key, rejected.reason) == (IO_LIMIT_KEY, "malformed")
    assert part in rejected.message
    assert OWN_EXAMPLE in rejected.message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "not JSON"),
        ("[" * 4000, "not JSON"),
        ("[]", "not a JSON object"),
        ('{"device_read": []}', "'device_read' is none of"),
        ('{"device_read_bps": {}}', "device_read_bps is not a list"),
        ('{"device_read_bps": [{"device": "/dev/sda"}]}', "an entry that is not device and value"),
        ('{"device_read_bps": [{"device": 8, "value": "1"}]}', "'8' names no disk"),
        ('{"device_read_bps": [{"device": "8:0", "value": true}]}', "is no rate"),
        ('{"device_read_bps": [{"device": "8:0", "value": "1"}, {"device": "8:0", "value": "2"}]}', "is there twice"),
    ],
)
def test_rubik_mistakes(text: str, part: str) -> None:
    """Of any JSON there is one sentence."""
    found = said(rubik=text)

    assert found.io_limits is None
    assert [(each.key, each.reason, part in each.message) for each in found.rejected] == [
        (RUBIK_IO_LIMIT_KEY, "malformed", True)
    ]


def test_too_long_is_not_read() -> None:
    """An annotation may have 256 KiB."""
    found = said(own="/dev/vdb rbps=1;" * 1000)

    assert found.io_limits is None
    assert [each.reason for each in found.rejected] == ["too-long"]


def test_our_words_count_before_rubiks() -> None:
    """Two that say the same are no conflict."""
    both = said(own="/dev/vdb rbps=10Mi", rubik=RUBIK_EXAMPLE)
    other = said(own="/dev/vdb rbps=1Mi", rubik=RUBIK_EXAMPLE)
    broken = said(own="/dev/vdb", rubik=RUBIK_EXAMPLE)

    assert (both.io_limits, both.rejected) == (parse_rubik(RUBIK_EXAMPLE), ())
    assert other.io_limits == (IoLimit("/dev/vdb", IoRate(rbps=MI)),)
    assert [(each.key, each.reason) for each in other.rejected] == [(RUBIK_IO_LIMIT_KEY, "conflict")]
    assert broken.io_limits is None
    assert said().io_limits == ()


@given(RATES)
def test_a_rate_reads_as_it_is_written(rate: IoRate) -> None:
    """The line the kernel prints and the line we write are one."""
    assert IoRate.parse(str(rate)) == rate


@given(st.text(max_size=200))
def test_no_text_raises_anything_else(text: str) -> None:
    """A stranger's text is limits or a sentence, in both vocabularies, and never both."""
    for key in ("own", "rubik"):
        found = said(**{key: text})
        assert (found.io_limits is None) == bool(found.rejected)
