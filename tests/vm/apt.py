"""Where this machine gets Debian packages from, told to mmdebstrap for another release.

Owns the reading of the host's apt sources. Installs nothing and contains no mirror's address: a guest is made from the
mirrors and the keyring that the host itself trusts.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
POCKETS = ("", "-updates", "-security")

Source = dict[str, str]


class AptError(RuntimeError):
    """The host's apt configuration cannot serve the guest's release."""


def sources(suite: str, root: Path = Path("/")) -> str:
    """
    Deb822 text with the host's Debian mirrors for ``suite`` and its updates and security pockets.

    A host that runs another Debian release has its release's name replaced. Raises AptError when nothing is left.
    """
    host = _release(root)
    wanted = [suite + pocket for pocket in POCKETS]
    stanzas = []
    for source in _sources(root / "etc/apt"):
        # The host's own release is what its mirrors are known to carry: the others stand in the same place.
        suites = [re.sub(rf"^{re.escape(host)}(?=-|$)", suite, each) for each in source["Suites"].split()]
        suites = [each for each in suites if each in wanted]
        if suites and "main" in source["Components"].split():
            keyring = source.get("Signed-By", KEYRING)
            found = {"URIs": source["URIs"], "Suites": " ".join(suites), "Components": "main", "Signed-By": keyring}
            stanzas.append("".join(f"{key}: {value}\n" for key, value in {"Types": "deb", **found}.items()))
    if not stanzas:
        raise AptError(
            f"no apt source of this host has Debian {suite}: the guest is made from Debian packages, so build it on "
            "Debian, with its archive in /etc/apt/sources.list or /etc/apt/sources.list.d"
        )
    if not (root / KEYRING.lstrip("/")).exists():
        raise AptError(f"no {KEYRING}: install the Debian package debian-archive-keyring")
    return "\n".join(stanzas)


def options() -> list[str]:
    """The host's apt options that say how its mirrors are reached: proxies."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return [line for line in dump.splitlines() if re.match(r'Acquire::\w+::Proxy\S* "[^"]', line)]


def _release(root: Path) -> str:
    text = (root / "etc/os-release").read_text(encoding="utf-8")
    values = dict(part.partition("=")[::2] for part in shlex.split(text, comments=True))
    return values.get("VERSION_CODENAME", "")


def _sources(folder: Path) -> Iterator[Source]:
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".sources":
            yield from _deb822(text)
        elif path.suffix == ".list":
            yield from _one_line(text)


def _deb822(text: str) -> Iterator[Source]:
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for paragraph in re.split(r"\n\s*\n", lines):
        unfolded = re.sub(r"\n[ \t]+", " ", paragraph)
        fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*?)[ \t]*$", unfolded, re.MULTILINE))
        enabled = fields.get("Enabled", "yes").lower() not in {"no", "false"}
        if enabled and "deb" in fields.get("Types", "").split() and fields.keys() >= {"URIs", "Suites", "Components"}:
            # An armoured key may stand here instead of a file's name; then the archive's own keyring is taken.
            if not fields.get("Signed-By", "").startswith("/"):
                fields.pop("Signed-By", None)
            yield fields


def _one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>[^#]+)", line)
        if match:
            source = {"URIs": match["uri"], "Suites": match["suite"], "Components": match["rest"].strip()}
            signed = re.search(r"signed-by=(/\S+)", match["options"] or "")
            if signed:
                source["Signed-By"] = signed[1]
            yield source
