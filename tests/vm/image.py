"""
A guest's disk, its kernels and the agent's dependencies, made from Debian packages once and kept.

Owns the recipe and the keys: a hash of whatever may change the result. Keeps nothing itself (see kept.py) and starts no
guest (see machine.py). Runs alone, to fill the cache ahead of the tests: ``python -m tests.vm.image``.
"""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.debian import RECIPE, ImageError, bootstrap, pip, require_programs, require_root, run
from tests.kept import digest, kept, say
from tests.vm.ext4 import ext4
from tests.vm.initramfs import initramfs

HERE = Path(__file__).resolve().parent
GUEST = HERE / "guest"
LOCK = HERE.parents[1] / "requirements.lock"

# bookworm's systemd (252) boots both cgroup v2 and v1; later ones refuse v1.
SUITE = "bookworm"
PYTHON = "3.11"  # bookworm's
KERNELS = {
    "6.12": "linux-image-6.12-amd64",
    # Debian builds 6.12 without the memory controller of cgroup v1.
    "6.1": "linux-image-cloud-amd64",
}
PACKAGES = ("iproute2", "kmod", "prometheus", "python3", "systemd", "systemd-sysv", "udev")
# Nobody reads in this guest.
EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/javascript/*")
# The Debian package that has each program needed on the host.
PROGRAMS = {
    "apt-config": "apt",
    "chroot": "coreutils",
    "dpkg-deb": "dpkg",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
}


@dataclass(frozen=True, slots=True)
class Contents:
    """
    What a kind of guest is made of.

    ``packages`` are installed; ``kernels``: the Debian package of each, by its short name; ``spare_mb`` stays free on
    the disk for what a test writes.
    """

    kind: str
    packages: tuple[str, ...]
    kernels: Mapping[str, str]
    spare_mb: int


STOCK = Contents("base", PACKAGES, KERNELS, 512)


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel: what QEMU loads, and its version as ``uname -r`` prints it."""

    version: str
    vmlinuz: Path
    initramfs: Path


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots: disks that are never written to, and kernels by their short names."""

    root: Path
    site: Path  # the agent's dependencies; the guest has them at /opt/site
    kernels: dict[str, Kernel]


def image(contents: Contents = STOCK) -> Image:
    """The image, made first if the cache has none. Safe against a second build at the same time. Raises ImageError."""
    require_programs(PROGRAMS, "the guest tests")
    require_root("building the guest", "its files belong to root and a chroot is entered")
    base = kept(contents.kind, _base_key(contents), lambda folder: _build_base(contents, folder))
    site = kept("site", _site_key(), _build_site)
    kernels = {}
    for name in contents.kernels:
        folder = base / "kernels" / name
        version = (folder / "version").read_text(encoding="utf-8")
        kernels[name] = Kernel(version, folder / "vmlinuz", folder / "initramfs")
    return Image(base / "root.ext4", site / "site.ext4", kernels)


def _base_key(contents: Contents) -> str:
    files = [Path(__file__), *RECIPE, HERE / "ext4.py", HERE / "initramfs.py"]
    files += sorted(path for path in GUEST.iterdir() if path.is_file())
    parts = (part for path in files for part in (path.name.encode(), path.read_bytes()))
    return digest(*parts, repr(contents).encode())


def _site_key() -> str:
    return digest(*(path.read_bytes() for path in (LOCK, Path(__file__), HERE / "ext4.py", *RECIPE)))


def _build_base(contents: Contents, folder: Path) -> None:
    root, packages = folder / "root", folder / "packages"
    packages.mkdir()
    options = [f"--include={','.join(contents.packages)}", '--aptopt=APT::Install-Recommends "false";']
    # The hook finds the packages that are not to be installed, only unpacked below.
    options += [f"--customize-hook={GUEST / 'download.sh'}"]
    unpacked = " ".join(["busybox-static", *contents.kernels.values()])
    wanted = {"PLIMSOLL_DOWNLOAD": str(packages), "PLIMSOLL_PACKAGES": unpacked}
    bootstrap(SUITE, root, folder / "debian.sources", excluded=EXCLUDED, options=options, environment=wanted)
    for path in GUEST.iterdir():
        if path.suffix == ".py":
            _copy(path, root / "usr/local/lib/plimsoll-vm" / path.name, 0o755)
        elif path.suffix == ".service":
            _copy(path, root / "etc/systemd/system" / path.name, 0o644)
    run(["chroot", str(root), "systemctl", "--quiet", "enable", "runner.service"])
    # Nobody logs in, waits for a clock or keeps anything up to date, and each of these takes its time at boot.
    run(["chroot", str(root), "systemctl", "--quiet", "mask", *(GUEST / "masked").read_text().split()])
    # Without an identity systemd takes each boot for the first one and applies presets.
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost guest\n")
    # mmdebstrap leaves the host's; nobody would answer, and programs would wait for it.
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "opt/site").mkdir()
    busybox = _unpacked(packages / "busybox-static") / "bin/busybox"
    for name, package in contents.kernels.items():
        _install_kernel(_unpacked(packages / package), root, folder / "kernels" / name, busybox.read_bytes())
    ext4(root, folder / "root.ext4", spare_mb=contents.spare_mb)
    shutil.rmtree(root)
    shutil.rmtree(packages)


def _install_kernel(package: Path, root: Path, folder: Path, busybox: bytes) -> None:
    """Modules into the guest's root; what QEMU loads into ``folder``."""
    (modules,) = (package / "lib/modules").iterdir()
    version = modules.name
    folder.mkdir(parents=True)
    shutil.copytree(modules, root / "usr/lib/modules" / version)
    run(["chroot", str(root), "depmod", version])
    shutil.copy(package / "boot" / f"vmlinuz-{version}", folder / "vmlinuz")
    # The probe looks in /boot for the kernel's configuration, as on any Debian node.
    shutil.copy(package / "boot" / f"config-{version}", root / "boot")
    archive = initramfs(root / "usr/lib/modules" / version, busybox, (GUEST / "init").read_bytes())
    (folder / "initramfs").write_bytes(archive)
    (folder / "version").write_text(version)


def _build_site(folder: Path) -> None:
    site = folder / "site"
    pip("install", PYTHON, [LOCK], "--no-build-isolation", f"--target={site}")
    ext4(site, folder / "site.ext4")
    shutil.rmtree(site)


def _unpacked(folder: Path) -> Path:
    (archive,) = folder.glob("*.deb")
    run(["dpkg-deb", "-x", str(archive), str(folder)])
    return folder


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    target.chmod(mode)


def main() -> int:
    try:
        print(image().root)
    except ImageError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
