"""What the guest is made of, as far as it can be said without making one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import apt
from tests.vm.image import PROGRAMS, ImageError, image
from tests.vm.initramfs import InitramfsError, load_order


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host's root with the archive's keyring and nothing else."""
    keyring = tmp_path / apt.KEYRING.lstrip("/")
    keyring.parent.mkdir(parents=True)
    keyring.touch()
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('NAME="Debian GNU/Linux"\nVERSION_CODENAME=bookworm\n')
    return tmp_path


def test_sources_are_the_hosts_own_for_debian_only(host: Path) -> None:
    """The release's pockets come from the host's mirrors; disabled, foreign and source entries do not."""
    (host / "etc/apt/sources.list.d/debian.sources").write_text(
        "# a comment\nTypes: deb deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\n"
        " bookworm-backports\nComponents: main contrib\nSigned-By: /keys/mirror.gpg\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off.test/\nSuites: bookworm\nComponents: main\n\n"
        "Types: deb-src\nURIs: http://source.test/\nSuites: bookworm\nComponents: main\n"
    )
    (host / "etc/apt/sources.list").write_text(
        "deb [arch=amd64 signed-by=/keys/a.gpg] http://security.test/ bookworm-security main # new\n"
        "deb http://vendor.test/ vendor-bookworm main\n#deb http://commented.test bookworm main\n"
    )
    assert apt.sources("bookworm", host) == (
        "Types: deb\nURIs: http://security.test/\nSuites: bookworm-security\nComponents: main\nSigned-By: /keys/a.gpg\n"
        "\n"
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
        "Signed-By: /keys/mirror.gpg\n"
    )


def test_sources_of_another_debian_release_are_turned_into_the_guests(host: Path) -> None:
    """The mirrors of a newer host carry the guest's release in the same place."""
    (host / "etc/os-release").write_text("VERSION_CODENAME=trixie\n")
    (host / "etc/apt/sources.list").write_text("deb http://mirror.test/debian trixie main non-free-firmware\n")
    assert "Suites: bookworm\n" in apt.sources("bookworm", host)


def test_a_host_without_debian_is_told_so(host: Path) -> None:
    """No mirror is made up, and a missing keyring names its package."""
    with pytest.raises(apt.AptError, match="no apt source of this host has Debian bookworm"):
        apt.sources("bookworm", host)
    (host / "etc/apt/sources.list").write_text("deb http://mirror.test/debian bookworm main\n")
    (host / apt.KEYRING.lstrip("/")).unlink()
    with pytest.raises(apt.AptError, match="install the Debian package debian-archive-keyring"):
        apt.sources("bookworm", host)


def test_missing_programs_are_named_by_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without its tools a build says what to install; it neither skips nor stumbles over the first one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="apt-get install") as error:
        image()
    assert all(package in str(error.value) for package in PROGRAMS.values())


def test_drivers_are_loaded_after_what_they_need(tmp_path: Path) -> None:
    """Built-in drivers are left out, needs come first and once; a kernel without a driver is refused."""
    (tmp_path / "modules.builtin").write_text(
        "kernel/a/virtio_pci.ko\nkernel/fs/ext4/ext4.ko\nkernel/virtio_console.ko\n"
    )
    (tmp_path / "modules.dep").write_text(
        "kernel/net/virtio_net.ko.xz: kernel/net/net_failover.ko.xz kernel/net/failover.ko.xz\n"
        "kernel/net/net_failover.ko.xz: kernel/net/failover.ko.xz\nkernel/net/failover.ko.xz:\n"
        "kernel/virtio_blk.ko.xz:\nkernel/virtio-rng.ko.xz:\nkernel/crc32c_generic.ko.xz:\n"
    )
    assert load_order(tmp_path) == [
        "kernel/virtio_blk.ko.xz",
        "kernel/net/failover.ko.xz",
        "kernel/net/net_failover.ko.xz",
        "kernel/net/virtio_net.ko.xz",
        "kernel/virtio-rng.ko.xz",
        "kernel/crc32c_generic.ko.xz",
    ]
    (tmp_path / "modules.builtin").write_text("")
    with pytest.raises(InitramfsError, match="no driver virtio_pci"):
        load_order(tmp_path)
