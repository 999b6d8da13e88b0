"""The harness itself: what the tests in guests rely on."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.image import Image
from tests.vm.machine import BOOTS, GuestError, Machine, ScriptError

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def guest(guest_image: Image) -> Iterator[Machine]:
    with Machine(guest_image, memory_mb=512) as machine:
        print(f"booted in {machine.boot_seconds:.1f} s with {machine.accelerator}")
        yield machine


def test_the_guest_is_whole(guest: Machine) -> None:
    """The stock kernel asked for runs, every unit of systemd started, the disks are there."""
    assert guest.sh("uname -r").strip() == guest.kernel_release
    assert guest.sh("systemctl --failed --no-legend").strip() == ""
    assert guest.sh("ls /dev/disk/by-id").split() == [
        f"virtio-plimsoll-{name}" for name in ("data", "root", "site", "swap")
    ]
    assert guest.sh("nproc; blockdev --getsize64 /dev/disk/by-id/virtio-plimsoll-swap").split() == ["2", f"{512 << 20}"]


def test_a_script_ends_with_its_status_and_output(guest: Machine) -> None:
    """Exit code, signal and both streams come back apart; what a script leaves running does not hold it up."""
    done = guest.run("echo out; echo error >&2; sleep 600 & exit 3")
    assert (done.status, done.stdout, done.stderr) == (3, "out\n", "error\n")
    assert guest.run("kill -TERM $$").status == -15
    assert guest.run(["cat"], stdin=b"given").stdout == "given"
    assert guest.run('echo "$A"', env={"A": "a b"}).stdout == "a b\n"
    with pytest.raises(ScriptError, match="ended with 3"):
        done.check()
    with pytest.raises(OSError, match="No such file"):
        guest.run(["/no/such/program"])


def test_a_script_that_hangs_is_killed_with_its_children(guest: Machine) -> None:
    """At its deadline nothing of it is left, what it had written is told, and the next script runs."""
    done = guest.run("echo begun; sleep 987654 & wait", timeout=8)
    assert (done.status, done.stdout) == (None, "begun\n")
    assert guest.run("pgrep -f '[s]leep 987654' || ps ax | grep '[s]leep 987654'").stdout == ""


def test_files_go_both_ways(guest: Machine, tmp_path: Path) -> None:
    """Bytes arrive as they are, also many of them; a missing file is an OSError; a folder arrives with its modes."""
    data = bytes(range(256)) * 8192
    guest.push("/run/new/folder/data", data, mode=0o600)
    assert guest.pull("/run/new/folder/data") == data
    assert guest.sh("stat -c %a /run/new/folder/data").strip() == "600"
    with pytest.raises(OSError, match="No such file"):
        guest.pull("/run/none")

    (tmp_path / "below/__pycache__").mkdir(parents=True)
    (tmp_path / "below/program").write_text("#!/bin/sh\necho runs\n")
    (tmp_path / "below/program").chmod(0o755)
    guest.push_tree("/opt/tree", tmp_path)
    assert guest.sh("/opt/tree/below/program; ls /opt/tree/below").split() == ["runs", "program"]


def test_ports_lead_into_the_guest(guest: Machine) -> None:
    """A server in the guest is reached through a port of the loopback, and the guest reaches nobody."""
    guest.sh("mkdir -p /run/www && echo served > /run/www/file")
    guest.sh("systemd-run --quiet --unit=www python3 -m http.server --directory /run/www 8000")
    port = guest.forward(8000)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 60
    while True:
        try:
            with opener.open(f"http://127.0.0.1:{port}/file", timeout=30) as response:
                assert response.read() == b"served\n"
                break
        except OSError:
            # QEMU accepts at once, whether or not the guest does.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    attempt = "import socket; socket.create_connection(('10.0.2.2', 22), 1)"
    assert guest.run(["python3", "-c", attempt]).status == 1


def test_boots_are_pristine_and_an_ended_guest_is_reported(guest: Machine, guest_image: Image) -> None:
    """What one boot writes no other sees; a guest that ends is an error at once, with its console, not a hang."""
    before = guest_image.root.stat().st_mtime_ns
    guest.sh("echo written > /root/mark && sync")
    with Machine(guest_image, kernel="6.1", memory_mb=256, cpus=1) as other:
        assert other.kernel_release.startswith("6.1.")
        assert other.run("cat /root/mark").status == 1
        with pytest.raises(GuestError, match=r"(?s)guest.*last lines of the guest's console.*sysrq: Trigger a crash"):
            other.run("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger", timeout=5)
    assert guest_image.root.stat().st_mtime_ns == before


def test_a_kernel_that_panics_each_time(guest_image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    """The emulator is given the benefit of the doubt a few times; then the panic is told."""
    with (
        pytest.raises(GuestError, match="Kernel panic"),
        Machine(guest_image, memory_mb=256, arguments=["rdinit=/none", "root=/dev/none"]),
    ):
        pass
    told = capsys.readouterr().err
    assert [each for each in range(1, 9) if f"boot {each} of" in told] == list(range(1, BOOTS))


def test_a_guest_starts_again(guest_image: Image) -> None:
    """With its disks as they were and without what was in memory; and a panic still ends it."""
    with Machine(guest_image, memory_mb=512) as guest:
        guest.sh("echo kept > /root/kept; echo lost > /run/lost; sync /root/kept")
        guest.restart()
        assert guest.sh("cat /root/kept").strip() == "kept"
        assert guest.run("test -e /run/lost").status == 1
        assert guest.sh("systemctl --failed --no-legend").strip() == ""
        with pytest.raises(GuestError):
            guest.sh("echo c > /proc/sysrq-trigger")
