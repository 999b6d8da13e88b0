"""What an administrator may say about telling others. What needs rights of its own is off by default."""

from __future__ import annotations

from pydantic import Field, StrictBool

from plimsoll.config.section import Section


class NoticesSection(Section):
    """What pods' owners are told in their cluster. Needs an API server, and rights the chart gives where one is on."""

    events: StrictBool = Field(
        False,
        description="Kubernetes Events on pods whose owners would want to know, such as a priority that is not "
        "followed. Needs the right to create and patch events.",
    )
    pod_conditions: StrictBool = Field(
        False,
        description="The same as conditions plimsoll.io/… of the pods. Needs the right to patch pods/status, of all "
        "pods of the cluster: see docs/security.md.",
    )
