"""What OpenShift's SecurityContextConstraints have for fields, from the Go type that defines them."""

from __future__ import annotations

import re

from tests.deploy.monitoring import module

# The newest that the Go module proxy has; allowPrivilegeEscalation came with the release after it.
MODULE = "github.com/openshift/api@v3.9.0+incompatible"
SUM = "h1:fJ/KsefYuZAjmrr3+5U9yZIZbTOpVkDDLDLFresAeYs="
LATER = {"allowPrivilegeEscalation"}


def constraint_fields() -> set[str]:
    """Their names as JSON has them. Raises ValueError when the module is not the known one."""
    text = (module(MODULE, SUM) / "security/v1/types.go").read_text()
    found = re.search(r"^type SecurityContextConstraints struct \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"{MODULE} has no SecurityContextConstraints")
    return set(re.findall(r'json:"(\w+)', found[1])) | LATER
