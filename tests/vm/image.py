"""
The guest's disk, its kernels and the agent's dependencies, made from Debian packages once and kept.

Owns the recipe and the keys: a hash of whatever may change the result. Keeps nothing itself (see kept.py) and starts no
guest (see machine.py). Runs alone, to fill the cache ahead of the tests: ``python -m tests.vm.image``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm import apt
from tests.vm.initramfs import initramfs
from tests.vm.kept import digest, kept, say

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
SPARE_BYTES = 512 << 20


class ImageError(RuntimeError):
    """The guest cannot be made here; the text says why and what to do about it."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel: what QEMU loads, and its version as ``uname -r`` prints it."""

    version: str
    vmlinuz: Path
    initramfs: Path


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots: disks that are never written to, and kernels by the short name of :data:`KERNELS`."""

    root: Path
    site: Path  # the agent's dependencies; the guest has them at /opt/site
    kernels: dict[str, Kernel]


def image() -> Image:
    """The image, made first if the cache has none. Safe against a second build at the same time. Raises ImageError."""
    _check_host()
    base = kept("base", _base_key(), _build_base)
    site = kept("site", _site_key(), _build_site)
    kernels = {}
    for name in KERNELS:
        folder = base / "kernels" / name
        version = (folder / "version").read_text(encoding="utf-8")
        kernels[name] = Kernel(version, folder / "vmlinuz", folder / "initramfs")
    return Image(base / "root.ext4", site / "site.ext4", kernels)


def _check_host() -> None:
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        raise ImageError(f"the guest tests need the Debian packages {' '.join(missing)}: apt-get install them")
    if os.geteuid() != 0:
        raise ImageError("building the guest needs root: its files belong to root and a chroot is entered")


def _base_key() -> str:
    files = [Path(__file__), Path(apt.__file__), HERE / "initramfs.py"]
    files += sorted(path for path in GUEST.iterdir() if path.is_file())
    return digest(*(part for path in files for part in (path.name.encode(), path.read_bytes())))


def _site_key() -> str:
    return digest(LOCK.read_bytes(), Path(__file__).read_bytes())


def _build_base(folder: Path) -> None:
    root, packages = folder / "root", folder / "packages"
    packages.mkdir()
    _debootstrap(folder, root, packages)
    for path in GUEST.iterdir():
        if path.suffix == ".py":
            _copy(path, root / "usr/local/lib/plimsoll-vm" / path.name, 0o755)
        elif path.suffix == ".service":
            _copy(path, root / "etc/systemd/system" / path.name, 0o644)
    _run(["chroot", str(root), "systemctl", "--quiet", "enable", "runner.service"])
    # Nobody logs in, waits for a clock or keeps anything up to date, and each of these takes its time at boot.
    _run(["chroot", str(root), "systemctl", "--quiet", "mask", *(GUEST / "masked").read_text().split()])
    # Without an identity systemd takes each boot for the first one and applies presets.
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost guest\n")
    # mmdebstrap leaves the host's; nobody would answer, and programs would wait for it.
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "opt/site").mkdir()
    busybox = _unpacked(packages / "busybox-static") / "bin/busybox"
    for name, package in KERNELS.items():
        _install_kernel(_unpacked(packages / package), root, folder / "kernels" / name, busybox.read_bytes())
    _ext4(root, folder / "root.ext4", SPARE_BYTES)
    shutil.rmtree(root)
    shutil.rmtree(packages)


def _debootstrap(folder: Path, root: Path, packages: Path) -> None:
    sources = folder / "debian.sources"
    try:
        sources.write_text(apt.sources(SUITE))
    except apt.AptError as error:
        raise ImageError(str(error)) from error
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
    command += [f"--aptopt={option}" for option in ('APT::Install-Recommends "false";', *apt.options())]
    command += [f"--customize-hook={GUEST / 'download.sh'}", SUITE, str(root), str(sources)]
    # The hook runs here on the host, with this environment.
    _run(command, PLIMSOLL_DOWNLOAD=str(packages), PLIMSOLL_PACKAGES=" ".join(["busybox-static", *KERNELS.values()]))


def _install_kernel(package: Path, root: Path, folder: Path, busybox: bytes) -> None:
    """Modules into the guest's root; what QEMU loads into ``folder``."""
    (modules,) = (package / "lib/modules").iterdir()
    version = modules.name
    folder.mkdir(parents=True)
    shutil.copytree(modules, root / "usr/lib/modules" / version)
    _run(["chroot", str(root), "depmod", version])
    shutil.copy(package / "boot" / f"vmlinuz-{version}", folder / "vmlinuz")
    # The probe looks in /boot for the kernel's configuration, as on any Debian node.
    shutil.copy(package / "boot" / f"config-{version}", root / "boot")
    archive = initramfs(root / "usr/lib/modules" / version, busybox, (GUEST / "init").read_bytes())
    (folder / "initramfs").write_bytes(archive)
    (folder / "version").write_text(version)


def _build_site(folder: Path) -> None:
    # The guest's Python may not be the one that runs the tests; pip picks the wheels for that one. --no-deps: the lock
    # is complete, and hashes are required for everything in it.
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--no-build-isolation", "--python-version", PYTHON, "--implementation", "cp"]
    for tag in ("manylinux2014", "manylinux_2_17", "manylinux_2_28", "manylinux_2_34"):
        command += ["--platform", f"{tag}_{os.uname().machine}"]
    site = folder / "site"
    _run([*command, "--target", str(site), "--requirement", str(LOCK)])
    _ext4(site, folder / "site.ext4", 0)
    shutil.rmtree(site)


def _unpacked(folder: Path) -> Path:
    (archive,) = folder.glob("*.deb")
    _run(["dpkg-deb", "-x", str(archive), str(folder)])
    return folder


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    target.chmod(mode)


def _ext4(root: Path, target: Path, spare: int) -> None:
    """A sparse file with a file system of what lies in ``root``. No loop device, no mount."""
    used = sum(path.lstat().st_size + 4096 for path in root.rglob("*"))
    size = used * 11 // 10 + (16 << 20) + spare
    with target.open("wb") as file:
        file.truncate(size - size % 4096)
    # No journal: every boot starts from the same bytes again.
    _run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(root), str(target)])


def _run(command: Sequence[str], **environment: str) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise ImageError(f"{command[0]} failed with status {done.returncode}:\n{output}")


def main() -> int:
    try:
        print(image().root)
    except ImageError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
