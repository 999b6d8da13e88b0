"""
A Debian guest under QEMU: booted pristine, told what to do over a channel, gone without a trace.

Owns QEMU's command line, the boot and the end of the guest. What is in the guest is image.py's, what a test does there
is the test's. Disks of the image are never written to: each boot has its own overlay, which is thrown away.
"""

from __future__ import annotations

import io
import re
import shutil
import socket
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from tests.process import Process, ProcessError
from tests.vm.accelerator import KVM, accelerator
from tests.vm.channel import Channel, ChannelError
from tests.vm.image import Image
from tests.vm.monitor import Monitor, MonitorError

# Boot arguments with which systemd mounts the v1 hierarchies, alone or beside a v2 one; for 6.1.
CGROUP_V1 = ("systemd.unified_cgroup_hierarchy=0", "systemd.legacy_systemd_cgroup_controller=1")
CGROUP_HYBRID = ("systemd.unified_cgroup_hierarchy=0",)

# An address in the guest's network at which nobody is.
OUTSIDE = "10.0.2.100"
RELAY = Path(__file__).resolve().parent / "relay.py"

BOOT_SECONDS = 240.0
# QEMU's emulator runs into a breakpoint now and then that another CPU's kernel has just taken out of the code (int3,
# while jump labels are patched): the kernel panics before anybody of ours is there. One that really cannot boot does so
# each time.
BOOTS = 3
PANIC = "Kernel panic"
# A guest that is emulated on a busy machine may be slow to say that a script's time is over.
GRACE_SECONDS = 60.0
# A clock that counts instructions is slow where few of them are done in a second.
COUNTED_SECONDS = 10
STOP_SECONDS = 10.0
# Only an emulated processor can be counted, and only one at a time.
COUNTING = "tcg,thread=single"
# Each takes 2 ns (2 to the power of 1): little more than emulating it takes. While all are idle the clock jumps.
INSTRUCTION = "shift=1,sleep=off"
_COMMON = (
    # The console is a file, for people; interfaces keep the names that guest/init gave addresses to.
    "console=ttyS0", "loglevel=5", "net.ifnames=0", "panic=-1",
    # Nobody attacks this guest, and emulating the defences costs a lot.
    "mitigations=off", "nokaslr",
    "systemd.show_status=0", "systemd.journald.max_level_console=warning", "systemd.journald.forward_to_console=1",
)  # fmt: skip


class GuestError(RuntimeError):
    """The guest did not boot, ended or does not answer; carries the end of its console."""


class ScriptError(AssertionError):
    """A script in the guest failed that was not expected to: carries its output."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a script ended. ``status``: exit code, minus the signal that killed it, ``None`` when its time was over."""

    script: str
    status: int | None
    stdout: str
    stderr: str

    def check(self) -> Result:
        """Itself. Raises ScriptError unless the exit code is 0."""
        if self.status != 0:
            ended = "did not end in time" if self.status is None else f"ended with {self.status}"
            raise ScriptError(f"in the guest: {ended}: {self.script}\n{self.stdout}\n{self.stderr}".rstrip())
        return self


class Machine:
    """
    One guest; a context manager that boots it and ends it.

    ``kernel`` is a short name of ``image.kernels``; ``arguments`` are added to the kernel's command line; ``swap_mb``
    is the size of the disk with the serial number ``plimsoll-swap``, ``data_mb`` that of ``plimsoll-data``: sparse,
    empty disks that the guest finds in /dev/disk/by-id/virtio-<serial>. ``disks``: more of them by serial number, files
    that are only read. ``reaches``: ports of :data:`OUTSIDE` that lead to ports of this machine's loopback, the only
    way out of the guest. ``counted``: the guest's clock counts
    instructions, so that what a second holds does not depend on who else uses this machine. ``qemu``: more of QEMU's
    own options.
    """

    def __init__(
        self,
        image: Image,
        *,
        kernel: str = "6.12",
        arguments: Sequence[str] = (),
        memory_mb: int = 1024,
        cpus: int = 2,
        swap_mb: int = 512,
        data_mb: int = 256,
        disks: Mapping[str, Path] = MappingProxyType({}),
        reaches: Mapping[int, int] = MappingProxyType({}),
        counted: bool = False,
        qemu: Sequence[str] = (),
    ) -> None:
        self._image = image
        self._kernel = image.kernels[kernel]
        self._arguments = arguments
        self._memory_mb = memory_mb
        self._cpus = cpus
        self._empty = {"plimsoll-swap": swap_mb, "plimsoll-data": data_mb}
        self._disks = {"plimsoll-site": image.site, **disks}
        self._reaches = reaches
        self._counted = counted
        self._qemu = qemu
        self._folder = Path()
        self._process: Process | None = None
        self._channel: Channel | None = None
        self._monitor: Monitor | None = None
        self.accelerator = ""
        self.boot_seconds = 0.0

    @property
    def kernel_release(self) -> str:
        """What ``uname -r`` prints in the guest."""
        return self._kernel.version

    def __enter__(self) -> Self:
        for boot in range(1, BOOTS + 1):
            # Short: a socket's path may have 107 bytes.
            self._folder = Path(tempfile.mkdtemp(prefix="plimsoll-vm-"))
            try:
                self._boot()
                break
            except BaseException as error:
                again = boot < BOOTS and isinstance(error, GuestError) and self.accelerator != KVM
                again = again and PANIC in str(error)
                self.__exit__()
                if not again:
                    raise
                print(f"boot {boot} of {BOOTS}: {error}", file=sys.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._channel, self._monitor):
            if each is not None:
                each.close()
        if self._process is not None:
            # Nothing in it is worth a shutdown.
            self._process.stop(STOP_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(
        self,
        script: str | Sequence[str],
        *,
        timeout: float = 60.0,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """
        Run a shell script (bash) or an argument vector as root, and wait for it.

        At ``timeout`` (seconds of the guest) it is killed with its process group. What it leaves in the background goes
        on. Raises GuestError when the guest does not answer, OSError when the program cannot be started.
        """
        argv = ["/bin/bash", "-c", script] if isinstance(script, str) else list(script)
        seconds = (COUNTED_SECONDS if self._counted else 1) * timeout + GRACE_SECONDS
        header, output = self._ask("run", stdin, seconds=seconds, argv=argv, timeout=timeout, env=dict(env or {}))
        length = header["stdout"]
        return Result(
            script if isinstance(script, str) else " ".join(argv),
            header["status"],
            output[:length].decode(errors="replace"),
            output[length:].decode(errors="replace"),
        )

    def sh(self, script: str, *, timeout: float = 60.0) -> str:
        """Standard output of a shell script that must succeed. Raises ScriptError."""
        return self.run(script, timeout=timeout).check().stdout

    def push(self, path: str, data: bytes | str, mode: int = 0o644) -> None:
        """Write a file in the guest, with the folders above it. Raises OSError."""
        content = data.encode() if isinstance(data, str) else data
        self._ask("push", content, seconds=GRACE_SECONDS, path=path, mode=mode)

    def push_tree(self, path: str, folder: Path) -> None:
        """Copy a folder's content into a folder of the guest; Python's caches are left out."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(folder, ".", filter=lambda each: None if each.name.endswith("__pycache__") else each)
        self.run(["/bin/bash", "-c", 'mkdir -p "$0" && tar -x -C "$0"', path], stdin=packed.getvalue()).check()

    def pull(self, path: str) -> bytes:
        """The content of a file in the guest. Raises OSError."""
        return self._ask("pull", seconds=GRACE_SECONDS, path=path)[1]

    def forward(self, port: int) -> int:
        """A port on this machine's loopback that leads to a TCP port of the guest."""
        assert self._monitor is not None
        self._monitor.human(f"hostfwd_add tcp:127.0.0.1:0-:{port}")
        # QEMU does not say which port it got but in this table: Protocol[State] FD Source Port Dest. Port ...
        table = self._monitor.human("info usernet")
        found = re.findall(rf"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+{port}\s", table)
        if not found:
            raise GuestError(f"QEMU did not forward to port {port}:\n{table}")
        return int(found[-1])

    def throttle(self, serial: str, operations: int) -> None:
        """Let a disk do at most so many operations a second from now on; 0: as many as it can."""
        assert self._monitor is not None
        told = self._monitor.human(f"block_set_io_throttle {serial} 0 0 0 {operations} 0 0")
        if told:
            raise GuestError(f"QEMU did not throttle {serial}: {told}")

    def unplug(self, serial: str) -> None:
        """Pull a disk out of the running guest, in use or not; returns when it is gone there. For good."""
        assert self._monitor is not None
        told = self._monitor.human(f"device_del {_slot(serial)}")
        if told:
            raise GuestError(f"QEMU did not take {serial} away: {told}")
        # The guest has to let go of it first.
        self.sh(f"until [ ! -e /dev/disk/by-id/virtio-{serial} ]; do sleep 0.1; done")

    def restart(self) -> None:
        """
        Cut the power when all is on the disks, and give it back; returns when the guest is up again.

        Raises GuestError when it does not come up.
        """
        assert self._monitor is not None
        assert self._channel is not None
        boot = "cat /proc/sys/kernel/random/boot_id"
        before = self.sh(boot)
        # Otherwise QEMU takes any restart for the end, as after a panic.
        self._monitor.set_action(reboot="reset")
        self.sh("sync", timeout=BOOT_SECONDS)
        self._monitor.human("system_reset")
        try:
            self._channel.ready(BOOT_SECONDS)
            self._settle()
            self._monitor.set_action(reboot="shutdown")
        except (ChannelError, MonitorError) as error:
            raise GuestError(f"the guest did not come up again: {error}\n{self.console()}") from error
        if self.sh(boot) == before:
            raise GuestError(f"the guest was not restarted\n{self.console()}")

    def console(self, lines: int = 60) -> str:
        """The end of what the guest wrote to its serial console, and of what QEMU said."""
        assert self._process is not None
        path = self._folder / "console.log"
        text = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return "\n".join(["--- last lines of the guest's console", *text[-lines:], self._process.tail()])

    def _ask(
        self, operation: str, payload: bytes = b"", *, seconds: float, **request: Any
    ) -> tuple[dict[str, Any], bytes]:
        assert self._channel is not None
        try:
            return self._channel.ask(operation, payload, seconds=seconds, **request)
        except ChannelError as error:
            raise GuestError(f"{error}\n{self.console()}") from error

    def _boot(self) -> None:
        started = time.monotonic()
        self.accelerator = COUNTING if self._counted else accelerator(self._kernel.vmlinuz)
        self._process = Process("qemu", self._command(), self._folder / "qemu.log")
        self._process.start()
        try:
            self._monitor = Monitor(self._connect("monitor"))
            self._channel = Channel(
                self._connect("channel"), lambda: self._process is not None and self._process.running
            )
            self._channel.ready(BOOT_SECONDS)
            self._settle()
        except (ProcessError, ChannelError, MonitorError) as error:
            raise GuestError(f"the guest did not boot: {error}\n{self.console()}") from error
        self.boot_seconds = time.monotonic() - started

    def _settle(self) -> None:
        # Exit code 1 with "degraded" is for the test to judge: a unit may fail where a controller is missing.
        self.run("systemctl is-system-running --wait", timeout=BOOT_SECONDS)
        # udev is at work still.
        links = " ".join(f"/dev/disk/by-id/virtio-{serial}" for serial in (*self._disks, *self._empty))
        self.sh(f"for each in {links}; do until [ -e $each ]; do sleep 0.1; done; done", timeout=BOOT_SECONDS)

    def _connect(self, name: str) -> socket.socket:
        assert self._process is not None
        path = self._folder / name
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

        def connected() -> bool:
            try:
                stream.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                # Not made yet, or made and not listening yet.
                return False
            return True

        try:
            self._process.wait_until(connected, f"listening on {path}", BOOT_SECONDS)
        except BaseException:
            stream.close()
            raise
        return stream

    def _command(self) -> list[str]:
        folder = self._folder
        command = ["qemu-system-x86_64", "-accel", self.accelerator, "-cpu", "max", "-smp", str(self._cpus)]
        command += ["-m", str(self._memory_mb), "-nodefaults", "-display", "none", "-no-reboot"]
        command += ["-kernel", str(self._kernel.vmlinuz), "-initrd", str(self._kernel.initramfs)]
        command += ["-append", " ".join([*_COMMON, *self._arguments])]
        command += ["-serial", f"file:{folder / 'console.log'}"]
        command += ["-chardev", f"socket,id=monitor,path={folder / 'monitor'},server=on,wait=off"]
        command += ["-mon", "chardev=monitor,mode=control"]
        command += ["-chardev", f"socket,id=channel,path={folder / 'channel'},server=on,wait=off"]
        command += ["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=channel,name=plimsoll"]
        # restrict: the guest reaches nobody but what is named; only ports that are forwarded reach it.
        relays = "".join(
            f",guestfwd=tcp:{OUTSIDE}:{port}-cmd:{sys.executable} -I {RELAY} {ours}"
            for port, ours in self._reaches.items()
        )
        command += ["-netdev", f"user,id=net,restrict=on{relays}", "-device", "virtio-net-pci,netdev=net,romfile="]
        command += ["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]
        command += self._disk("plimsoll-root", self._image.root, "snapshot=on")
        for serial, path in self._disks.items():
            command += self._disk(serial, path, "read-only=on")
        for serial, size in self._empty.items():
            path = folder / f"{serial}.raw"
            with path.open("wb") as file:
                file.truncate(size << 20)
            command += self._disk(serial, path, "cache=unsafe")
        if self._counted:
            command += ["-icount", INSTRUCTION]
        return [*command, *self._qemu]

    @staticmethod
    def _disk(serial: str, path: Path, options: str) -> list[str]:
        drive = f"file={path},format=raw,if=none,id={serial},{options}"
        return ["-drive", drive, "-device", f"virtio-blk-pci,drive={serial},serial={serial},id={_slot(serial)}"]


def _slot(serial: str) -> str:
    """What QEMU calls the disk as a piece of hardware."""
    return f"{serial}-slot"
