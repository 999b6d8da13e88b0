"""
Writes what an image is made of as a CycloneDX document (JSON, 1.6): Debian packages and Python distributions.

Runs inside the image while it is built, by its own Python and with nothing but that; prints the document. It lists what
is installed there, not what a lock says should be. The same image gives the same document, byte for byte.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import quote

STATUS = Path("/var/lib/dpkg/status")
RELEASE = Path("/etc/os-release")

Json = dict[str, object]


def document(version: str, site_packages: str) -> Json:
    """``version`` is the image's own; ``site_packages`` the folder its distributions are in."""
    components = sorted([*debian(), *python(site_packages)], key=lambda each: str(each["bom-ref"]))
    image: Json = {"type": "container", "bom-ref": "image", "name": "plimsoll", "version": version}
    found: Json = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": image, "lifecycles": [{"phase": "build"}]},
        "components": components,
        # What is listed is all that is installed by a package manager; whether it depends on each other is not told.
        "compositions": [{"aggregate": "complete", "assemblies": ["image"]}],
    }
    content = json.dumps(found, sort_keys=True)
    found["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, content).urn
    return found


def debian() -> Iterator[Json]:
    """Each package that dpkg has installed."""
    release = dict(line.split("=", 1) for line in RELEASE.read_text(encoding="utf-8").splitlines() if "=" in line)
    distro = f"debian-{release.get('VERSION_ID', '').strip(chr(34))}"
    for stanza in STATUS.read_text(encoding="utf-8").split("\n\n"):
        # A field goes on in lines that begin with a space.
        lines = [line for line in stanza.splitlines() if ": " in line and not line.startswith(" ")]
        fields = dict(line.split(": ", 1) for line in lines)
        if fields.get("Status") != "install ok installed":
            continue
        name, version, architecture = (fields[key] for key in ("Package", "Version", "Architecture"))
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}&distro={distro}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def python(site_packages: str) -> Iterator[Json]:
    """Each distribution of the program's own environment, itself among them."""
    for each in distributions(path=[site_packages]):
        name = each.metadata["Name"]
        # PyPI's spelling of a name.
        purl = f"pkg:pypi/{quote(name.lower().replace('_', '-').replace('.', '-'))}@{quote(each.version)}"
        found: Json = {"type": "library", "bom-ref": purl, "name": name, "version": each.version, "purl": purl}
        licence = _licence(each)
        if licence:
            found["licenses"] = [licence]
        yield found


def _licence(distribution: Distribution) -> Json | None:
    """As its metadata has it: an SPDX expression, or whatever text was written there."""
    metadata = distribution.metadata
    if expression := metadata.get("License-Expression"):
        return {"expression": expression}
    text = metadata.get("License") or ""
    # Some write the whole licence there.
    return {"license": {"name": text}} if text and "\n" not in text else None


if __name__ == "__main__":
    json.dump(document(*sys.argv[1:]), sys.stdout, indent=1)
