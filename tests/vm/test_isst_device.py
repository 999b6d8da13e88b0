"""The simulated Speed Select machine as a real device node: what a program in the guest gets is what the model says."""

from __future__ import annotations

import errno
import json
import struct
from collections.abc import Iterator

import pytest

from plimsoll.simulator.speed_select import SpeedSelect
from plimsoll.simulator.speed_select_kernel import Kernel
from plimsoll.simulator.speed_select_machine import Generation, describe
from tests.vm.agent import HOME
from tests.vm.image import Image
from tests.vm.isst.emulator import DEVICE, KERNEL_ARGUMENTS, SECONDS, Emulator, processor
from tests.vm.machine import Machine, ScriptError

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

PLATFORM, PHY_ID, IO, MBOX, MSR = 0x8008FE00, 0xC008FE01, 0x4008FE02, 0xC008FE03, 0xC008FE04
COUNT, POWER, PARAM, ASSOC = 0x8008FE05, 0xC008FE06, 0xC008FE07, 0xC008FE08
LEVELS, SET_LEVEL, LEVEL_INFO, TURBO_INFO = 0xC008FE09, 0x4008FE0A, 0x8008FE0C, 0x8008FE10
SAPPHIRE_RAPIDS = 143


@pytest.fixture(scope="module")
def guest(guest_image: Image) -> Iterator[Machine]:
    qemu = processor(SAPPHIRE_RAPIDS)
    with Machine(guest_image, cpus=8, arguments=KERNEL_ARGUMENTS, qemu=qemu, memory_mb=768) as machine:
        yield machine


@pytest.fixture(scope="module")
def emulator(guest: Machine) -> Emulator:
    return Emulator(guest)


def ask(guest: Machine, requests: list[tuple[int, bytes]], user: str = "") -> list[tuple[int, bytes]]:
    """The answers to ioctls in the guest, asked by one process; ``user``: setpriv's options to run it with."""
    listed = json.dumps([(request, content.hex()) for request, content in requests])
    argv = ["setpriv", *user.split(), "python3", f"{HOME}/isst/probe.py", listed]
    answers = json.loads(guest.run(argv, timeout=SECONDS).check().stdout)
    return [(result, bytes.fromhex(content)) for result, content in answers]


OLD_REQUESTS = [
    (PLATFORM, bytes(8)),
    (PHY_ID, struct.pack("<I", 8) + b"".join(struct.pack("<2I", cpu, 0xFF) for cpu in range(8))),
    (PHY_ID, struct.pack("<I", 64) + b"".join(struct.pack("<2I", cpu % 8, 0xFF) for cpu in range(64))),
    (PHY_ID, struct.pack("<I", 3) + b"".join(struct.pack("<2I", cpu, 0xFF) for cpu in (1, 0, 8))),
    (PHY_ID, struct.pack("<3I", 0, 0, 0)),
    (PHY_ID, struct.pack("<3I", 65, 0, 0)),
    (MBOX, struct.pack("<5I2HI", 1, 0, 0, 0, 0, 0x7F, 0x00, 0)),
    (MBOX, struct.pack("<5I2HI", 1, 0, 0, 99, 0, 0x7F, 0x03, 0)),
    (MBOX, struct.pack("<5I2HI", 1, 0, 0, 0, 0, 0x7F, 0x0D, 0)),
    (MBOX, struct.pack("<5I2HI", 1, 1, 0x100, 6, 0, 0xD0, 2, 0)),
    (IO, struct.pack("<I12I", 3, 1, 1, 0x14, 0x00140800, 0, 1, 0x14, 0, 1, 0, 0x20, 3 << 16)),
    (IO, struct.pack("<I8I", 2, 1, 0, 0x14, 5, 1, 0, 0x15, 5)),
    (IO, struct.pack("<5I", 1, 1, 0, 0x15, 5)),
    (MSR, struct.pack("<I4x2I2Q2I2Q", 2, 0, 3, 0x1AE, 0, 1, 3, 0x1AD, 2**64 - 1)),
    (MSR, struct.pack("<I4x2I2Q", 1, 1, 0, 0x1AD, 1)),
    (MSR, struct.pack("<I4x2I2Q", 1, 0, 0, 0x10, 0)),
    (COUNT, bytes(4)),
    (0x8008FE11, bytes(64)),
]
NEW_REQUESTS = [
    (PLATFORM, bytes(8)),
    (PHY_ID, struct.pack("<I", 8) + b"".join(struct.pack("<2I", cpu, 0xFF) for cpu in range(8))),
    (MBOX, struct.pack("<5I2HI", 1, 0, 0, 0, 0, 0x7F, 0x00, 0)),
    (COUNT, bytes([1, 0, 0, 0])),
    (COUNT, bytes([2, 0, 0, 0])),
    (POWER, bytes([1, 0, 1, 1, 0, 1])),
    (POWER, bytes([0, 0, 1, 9, 9, 9])),
    (POWER, bytes([1, 0, 9, 1, 0, 1])),
    (PARAM, struct.pack("<4B2HBx", 1, 1, 0, 3, 800, 2050, 15)),
    (PARAM, struct.pack("<4B2HBx", 0, 1, 0, 3, 0, 0, 0)),
    (ASSOC, struct.pack("<3H2B2H2B2H", 2, 1, 1, *(0, 0, 0, 3), *(1, 1, 0, 2))),
    (ASSOC, struct.pack("<3H", 64, 0, 1) + b"".join(struct.pack("<2B2H", 1, 1, core, 0) for core in range(64))),
    (ASSOC, struct.pack("<3H2B2H2B2H", 2, 0, 1, *(0, 0, 0, 0), *(0, 0, 99, 0))),
    (ASSOC, struct.pack("<3H", 65, 0, 1) + bytes(6 * 65)),
    (LEVELS, bytes([1, 1, *range(9)])),
    (SET_LEVEL, bytes([0, 0, 1])),
    (LEVEL_INFO, struct.pack("<2BH", 0, 1, 2) + bytes([7] * 150)),
    (TURBO_INFO, struct.pack("<2BH", 0, 1, 0) + bytes(130)),
    (MSR, struct.pack("<I4x2I2Q", 1, 0, 5, 0x54, 0)),
]


@pytest.mark.parametrize(
    ("machine", "requests"),
    [
        ({"generation": "mmio", "cores": 2}, OLD_REQUESTS),
        ({"generation": "mailbox", "cores": 2}, OLD_REQUESTS),
        ({"generation": "tpmi", "domains": 2, "cores": 1, "io_domains": 1}, NEW_REQUESTS),
    ],
    ids=lambda value: value["generation"] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("user", ["--reuid=0", "--bounding-set=-sys_admin --inh-caps=-sys_admin"], ids=["root", "poor"])
def test_the_node_answers_as_the_model(
    guest: Machine, emulator: Emulator, machine: dict[str, object], requests: list[tuple[int, bytes]], user: str
) -> None:
    """
    Through the kernel every request has the answer, the errno and the bytes that the model has in process, and leaves
    the same registers: also more than a page's worth of commands, partial counts, and what a process without
    CAP_SYS_ADMIN may not do.
    """
    emulator.start(machine)
    arguments = {name: value for name, value in machine.items() if name != "generation"}
    kernel = Kernel(sys_admin=user == "--reuid=0")
    model = SpeedSelect(describe(Generation(machine["generation"]), **arguments), kernel=kernel)  # type: ignore[arg-type]
    expected = []
    for request, content in requests:
        buffer = bytearray(content)
        try:
            result = model.ioctl(request, buffer)
        except OSError as error:
            result = -(error.errno or 0)
        expected.append((result, bytes(buffer)))
    answers = ask(guest, requests, user)
    assert answers == expected
    assert emulator.registers() == model.registers()
    # Not a comparison of nothings: some were refused, some done.
    results = {result for result, _ in answers}
    assert {-errno.ENOTTY, 0} <= results
    assert (-errno.EPERM in results) == (user != "--reuid=0" and machine["generation"] != "tpmi")
    log = emulator.log()
    assert [each["result"] for each in log] == [result for result, _ in expected]
    assert [each["time_ns"] for each in log] == sorted(each["time_ns"] for each in log)


def test_the_node_is_like_the_kernels(guest: Machine) -> None:
    """A character device of root's alone; what lies outside of the caller's memory is EFAULT."""
    assert guest.sh(f"stat -c '%F %a %U' {DEVICE}").strip() == "character special file 600 root"
    script = (
        "import fcntl, os\n"
        f"file = os.open('{DEVICE}', os.O_RDWR)\n"
        "try:\n"
        f"    fcntl.ioctl(file, {PLATFORM:#x}, 8)\n"
        "except OSError as error:\n"
        "    print(error.errno)\n"
    )
    assert int(guest.run(["python3", "-c", script]).check().stdout) == errno.EFAULT
    with pytest.raises(ScriptError, match="Permission denied"):
        ask(guest, [(PLATFORM, bytes(8))], "--reuid=65534 --clear-groups")


def test_a_caller_is_killed_at_a_write(guest: Machine, emulator: Emulator) -> None:
    """SIGKILL strikes before the write of a number: the ones before are done, that one is not, and the device lives."""
    emulator.start({"generation": "mmio", "cores": 2})
    emulator.kill_at(1)
    requests = [(IO, struct.pack("<5I", 1, 1, 0, 0x08 + 4 * clos, 7)) for clos in range(3)]
    listed = json.dumps([(request, content.hex()) for request, content in requests])
    assert guest.run(["python3", f"{HOME}/isst/probe.py", listed], timeout=SECONDS).status == -9
    registers = emulator.registers()
    assert [registers[f"0/0/clos/{clos}"] for clos in range(3)] == [7, 0x00FF0000, 0x00FF0000]
    assert [result for result, _ in ask(guest, requests)] == [1, 1, 1]


def test_faults_reach_the_caller(guest: Machine, emulator: Emulator) -> None:
    """A busy mailbox, a refusing package, a lost write and a foreign hand, as the caller sees them."""
    emulator.start({"generation": "mailbox", "cores": 2})
    read = (MBOX, struct.pack("<5I2HI", 1, 0, 3, 0, 0, 0xD0, 1, 0))
    write = (MBOX, struct.pack("<5I2HI", 1, 0, 0x103, 0x00140800, 0, 0xD0, 1, 0))
    other = (MBOX, struct.pack("<5I2HI", 1, 2, 0x103, 0x00140800, 0, 0xD0, 1, 0))
    emulator.fault("busy", 2)
    assert [result for result, _ in ask(guest, [read, write, write])] == [-errno.EBUSY, -errno.EBUSY, 1]
    emulator.fault("lost", "clos/3")
    emulator.poke("0/0/clos/3", 0x00FF0000)
    answers = ask(guest, [write, read, write, read])
    assert [struct.unpack_from("<I", content, 16)[0] for _, content in answers[1::2]] == [0x00FF0000, 0x00140800]
    emulator.fault("refused", 0)
    assert [result for result, _ in ask(guest, [write, read, other])] == [-errno.EPERM, 1, 1]
