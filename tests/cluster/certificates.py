"""The key material of one test control plane, as files: its authority, its serving certificate, its accounts' key.

Everything is made anew for each control plane.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fixtures import certificates
from tests.fixtures.certificates import write, write_pair


class Authority(certificates.Authority):
    """A certificate authority whose files lie in one folder: `ca_file` is what a client must trust."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.ca_file = folder / "ca.crt"
        write(self.ca_file, self.pem)

    def serving(self, name: str, hosts: list[str]) -> tuple[Path, Path]:
        """Certificate and key files of a TLS server reached by these DNS names and IP addresses."""
        return write_pair(self.folder, self.pair(name, hosts=hosts), name)


def signing_key(path: Path) -> Path:
    """Writes a private key that signs service account tokens; the API server takes it for checking them, too."""
    # SEC 1 ("BEGIN EC PRIVATE KEY") is the form of an EC key that every part of Kubernetes reads.
    form, encryption = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    write(path, ec.generate_private_key(ec.SECP256R1()).private_bytes(serialization.Encoding.PEM, form, encryption))
    return path
