"""Batches of Speed Select requests: the limit, partial counts, retries, errno; and the device node itself."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst import abi
from plimsoll.kernel.isst.abi import Request
from plimsoll.kernel.isst.device import PATH, Device, IsstInterface
from plimsoll.kernel.isst.state import Answer
from plimsoll.model.outcome import Outcome

_CPU_MAP = struct.Struct("<II")


class Recorded:
    """
    A device that numbers CPUs by ten, with one scripted result for each ioctl: a count, or a negative errno.

    A result that is not scripted is the number of commands. ``sent`` are the CPUs of each ioctl.
    """

    def __init__(self, *results: int) -> None:
        self.results = list(results)
        self.sent: list[list[int]] = []

    def ioctl(self, request: int, buffer: bytearray) -> int:
        assert request == 0xC008FE01
        (count,) = struct.unpack_from("<I", buffer)
        assert len(buffer) == 4 + 8 * count
        cpus = [_CPU_MAP.unpack_from(buffer, 4 + 8 * index)[0] for index in range(count)]
        self.sent.append(cpus)
        result = self.results.pop(0) if self.results else count
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        for index in range(min(result, count)):
            _CPU_MAP.pack_into(buffer, 4 + 8 * index, cpus[index], 10 * cpus[index])
        return result


def _ask(transport: Recorded, cpus: int, *, stop: bool = False) -> tuple[list[Answer[int]], list[float]]:
    pauses: list[float] = []
    commands = [abi.CpuMap(cpu, 0) for cpu in range(cpus)]
    answers = Device(transport, pauses.append).commands(Request.GET_PHY_ID, commands, stop=stop)
    return [answer.map(lambda found: found.physical_cpu) for answer in answers], pauses


def test_no_ioctl_has_more_than_64_commands() -> None:
    """150 commands go as 64, 64 and 22, in order, and each has its own answer; none at all sends nothing."""
    transport = Recorded()
    answers, pauses = _ask(transport, 150)
    assert [len(each) for each in transport.sent] == [64, 64, 22]
    assert answers == [Answer(10 * cpu) for cpu in range(150)]
    assert pauses == []
    assert _ask(transport, 0) == ([], [])
    assert len(transport.sent) == 3


def test_a_driver_that_takes_fewer_is_given_fewer() -> None:
    """The limit the driver reports is kept; one above what any kernel takes is not believed."""
    for limit, sizes in ((8, [8, 2]), (0, [1] * 10), (500, [10])):
        transport = Recorded()
        Device(transport, lambda _: None, limit).commands(Request.GET_PHY_ID, [abi.CpuMap(n, 0) for n in range(10)])
        assert [len(each) for each in transport.sent] == sizes


def test_a_partial_count_is_a_failure_whose_errno_is_asked_for() -> None:
    """
    The kernel counts 3 of 5 and loses why. The fourth is sent again, first: its errno comes out, the fifth is done.
    """
    transport = Recorded(3, -errno.EPERM)
    answers, pauses = _ask(transport, 5)
    assert transport.sent == [[0, 1, 2, 3, 4], [3, 4], [4]]
    assert answers == [Answer(0), Answer(10), Answer(20), Answer(None, Outcome.DENIED, errno.EPERM), Answer(40)]
    assert pauses == []


def test_nothing_is_sent_after_a_failure_that_the_rest_depends_on() -> None:
    """With ``stop`` the commands after the failed one are HELD, and were not sent on their own."""
    transport = Recorded(1, -errno.EPERM)
    answers, _ = _ask(transport, 4, stop=True)
    assert transport.sent == [[0, 1, 2, 3], [1, 2, 3]]
    assert [each.outcome for each in answers] == [Outcome.OK, Outcome.DENIED, Outcome.HELD, Outcome.HELD]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.ENXIO])
def test_what_may_pass_is_tried_three_times_more(code: int) -> None:
    """Three failures of a command are hidden, with a pause before each new try; tries are counted by command."""
    transport = Recorded(-code, -code, -code, 1, -code, -code, -code)
    answers, pauses = _ask(transport, 2)
    assert answers == [Answer(0), Answer(10)]
    assert len(pauses) == 6
    assert all(0 < pause <= 0.01 for pause in pauses)


@pytest.mark.parametrize(
    ("code", "outcome", "tries"),
    [
        (errno.EBUSY, Outcome.BUSY, 4),
        (errno.ENXIO, Outcome.REJECTED, 4),
        (errno.EINVAL, Outcome.REJECTED, 1),
        (errno.EPERM, Outcome.DENIED, 1),
        (errno.ENOTTY, Outcome.UNSUPPORTED, 1),
        (errno.EFAULT, Outcome.FAILED, 1),
    ],
)
def test_each_errno_has_its_outcome(code: int, outcome: Outcome, tries: int) -> None:
    """What stays is given with its errno; only what may pass is tried again. ENOTTY: no such back-end."""
    transport = Recorded(*([-code] * 4))
    answers, _ = _ask(transport, 1)
    assert answers == [Answer(None, outcome, code)]
    assert len(transport.sent) == tries


@pytest.mark.parametrize("count", [0, 3])
def test_a_count_that_cannot_be_is_not_believed(count: int) -> None:
    """Success for no command, or for more than were sent, is a failure of the first and no endless loop."""
    answers, _ = _ask(Recorded(count), 2)
    assert answers == [Answer(None, Outcome.FAILED, errno.EIO), Answer(10)]


class One:
    """A device for requests of one structure: fails as scripted after spoiling the buffer, then raises each byte."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.seen: list[bytes] = []

    def ioctl(self, _request: int, buffer: bytearray) -> int:
        self.seen.append(bytes(buffer))
        code = self.codes.pop(0) if self.codes else 0
        if code:
            buffer[:] = b"\xff" * len(buffer)
            raise OSError(code, os.strerror(code))
        buffer[:] = bytes(each + 1 for each in buffer)
        return 0


def test_one_structure_is_sent_with_zeros_and_each_try_is_as_the_first() -> None:
    """What is not set is 0; what a failed try left in the buffer is not sent again; the answer is the kernel's."""
    transport = One(errno.EBUSY)
    answer = Device(transport, lambda _: None).one(Request.CORE_POWER_STATE, abi.CorePower(0, 1, 2))
    assert transport.seen == [b"\x00\x01\x02\x00\x00\x00"] * 2
    assert answer.value is not None
    assert bytes(answer.value) == b"\x01\x02\x03\x01\x01\x01"


def test_every_refusal_of_the_tpmi_generation_looks_the_same() -> None:
    """ENOTTY of its requests is REJECTED, not a feature that is missing: the kernel folds every errno into it."""
    answer = Device(One(errno.ENOTTY), lambda _: None).one(Request.CLOS_PARAM, abi.ClosParam())
    assert answer == Answer(None, Outcome.REJECTED, errno.ENOTTY)
    answers = Device(One(errno.ENOTTY), lambda _: None).associations([abi.ClosAssoc(0, 0, 5, 0)])
    assert [each.outcome for each in answers] == [Outcome.OK], "alone, after the batch had failed"


def test_a_failed_batch_of_associations_is_sent_one_by_one() -> None:
    """This request has no count: after EPERM of the batch each command is sent alone and has its own answer."""
    transport = One(errno.EPERM, 0, errno.EPERM)
    commands = [abi.ClosAssoc(0, 0, core, 0) for core in range(3)]
    answers = Device(transport, lambda _: None).associations(commands)
    assert [each.outcome for each in answers] == [Outcome.OK, Outcome.DENIED, Outcome.OK]
    # Count, set or get, and that the core is numbered by the punit; then the commands.
    assert [struct.unpack_from("<3H", each) for each in transport.seen] == [(3, 0, 1), (1, 0, 1), (1, 0, 1), (1, 0, 1)]
    assert [len(each) for each in transport.seen] == [6 + 18, 12, 12, 12]


@pytest.mark.parametrize(("needed", "settles"), [(0, True), (4, True), (10, True), (11, False)])
def test_a_late_register_is_waited_for_but_not_for_ever(needed: int, settles: bool) -> None:
    """A reading that comes right after some looks is waited for; one that never does ends the wait."""
    pauses: list[float] = []
    device = Device(One(), pauses.append)
    assert device.settle(lambda: len(pauses) >= needed) is settles
    assert len(pauses) == min(needed, 10)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    path = tmp_path / PATH
    path.write_bytes(b"")
    return path


def _platform_info(host: HostFs) -> Answer[abi.PlatformInfo]:
    return Device(IsstInterface(host), lambda _: None).one(Request.GET_PLATFORM_INFO, abi.PlatformInfo())


def test_the_node_is_closed_after_each_ioctl(node: Path) -> None:
    """A real file takes the place of the device and answers ENOTTY; no descriptor is left, however often."""
    with HostFs(str(node.parent.parent)) as host:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            assert _platform_info(host) == Answer(None, Outcome.UNSUPPORTED, errno.ENOTTY)
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_node_that_is_not_there_is_missing(tmp_path: Path) -> None:
    """No device is an everyday answer."""
    with HostFs(str(tmp_path)) as host:
        assert _platform_info(host) == Answer(None, Outcome.MISSING, errno.ENOENT)


def test_faults_are_scripted_through_the_hosts_hook(node: Path) -> None:
    """The hook is asked by request number, after opening and before the ioctl."""
    asked: list[tuple[str, str]] = []

    def fault(operation: str, path: str) -> int:
        asked.append((operation, path))
        return errno.EPERM if operation == "ioctl" else 0

    with HostFs(str(node.parent.parent), fault=fault) as host:
        assert _platform_info(host) == Answer(None, Outcome.DENIED, errno.EPERM)
    assert asked == [("open", str(node)), ("ioctl", f"{node}#0")]


def test_the_transport_gives_the_kernels_count_and_bytes(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole buffer reaches the ioctl of the opened node, above the 1,024 bytes Python copies, too."""
    seen: list[tuple[str, int, int]] = []

    def ioctl(descriptor: int, request: int, buffer: bytearray, mutate: bool) -> int:
        seen.append((os.readlink(f"/proc/self/fd/{descriptor}"), request, len(buffer)))
        assert mutate
        buffer[-1] = 7
        return 64

    # No machine at hand has the device; that the bytes come back through a real one is shown in a guest (tests/vm).
    monkeypatch.setattr("plimsoll.kernel.isst.device.fcntl.ioctl", ioctl)
    buffer = bytearray(4 + 24 * 64)
    with HostFs(str(node.parent.parent)) as host:
        assert IsstInterface(host).ioctl(Request.MBOX_COMMAND, buffer) == 64
    assert seen == [(str(node), 0xC008FE03, 1540)]
    assert buffer[-1] == 7


def test_answers_keep_their_failure() -> None:
    """Giving an answer a meaning does not touch one without a value."""
    assert Answer(21).map(str) == Answer("21")
    assert Answer[int](None, Outcome.BUSY, 16).map(str) == Answer(None, Outcome.BUSY, 16)
    assert Answer(21).without() == Answer(None)
