"""
What an administrator may say: one pydantic model per section, one section per capability.

A section is one class here and one field of :class:`Config`; its defaults are the safe ones. ``python -m
plimsoll.config.schema`` prints the JSON schema that stands in ``config/schema.json``.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, StrictBool, StrictInt

from plimsoll.config.duration import Duration
from plimsoll.config.eviction_section import EvictionSection
from plimsoll.config.frequency_section import FrequencySection
from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.config.policy_sections import IoLimitSection, PreemptionSection
from plimsoll.config.report_section import NoticesSection
from plimsoll.config.section import Section
from plimsoll.model.pod import Priority, QosClass


class LogSection(Section):
    """What the agent logs."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least important level logged.")
    format: Literal["json", "console"] = Field("json", description="json for machines, console for people.")


class TlsSection(Section):
    """TLS for the endpoint. The files are read again when they change; a broken new set is not taken."""

    cert_file: str = Field(description="PEM file with the serving certificate and its intermediates.")
    key_file: str = Field(description="PEM file with its private key, not encrypted.")
    client_ca_file: str | None = Field(
        None,
        alias="clientCAFile",
        description="PEM file of CAs; then all but /healthz and /readyz needs a client certificate of theirs.",
    )


class HttpSection(Section):
    """The endpoint for Prometheus, the probes and the status page. A change needs a restart."""

    listen: str = Field(":9470", description='Address and port: ":9470" is every address, IPv4 and IPv6.')
    max_connections: StrictInt = Field(64, ge=4, le=4096, description="Connections held open at once.")
    tls: TlsSection | None = Field(None, description="Serve HTTPS; without it, plain HTTP.")


class PrioritySection(Section):
    """How a pod's priority is decided when its owner says nothing, and who may raise it."""

    priority_classes: dict[str, Priority] = Field(default_factory=dict, description="By PriorityClass name; first.")
    namespaces: dict[str, Priority] = Field(default_factory=dict, description="By namespace; second.")
    qos_classes: dict[QosClass, Priority] = Field(default_factory=dict, description="By QoS class; third.")
    trusted_namespaces: tuple[str, ...] = Field(
        ("*",), description="Namespaces (globs) whose pods may raise their own priority. Narrow it on shared clusters."
    )
    unmanaged_namespaces: tuple[str, ...] = Field(
        ("kube-system",), description="Namespaces (globs) never acted upon; kube-system always is one."
    )


class PressureSection(Section):
    """Pressure collection."""

    interval: Duration = Field(5.0, ge=1, le=60, description="Time between two observations, 1s to 60s.")
    causes: tuple[str, ...] = Field(("*",), description="Causes (globs) to export.")
    windows: tuple[Literal["10s", "60s", "300s"], ...] = Field(
        ("10s",), description="Averaging windows of the ratio metric; the counters are always exported."
    )
    containers: StrictBool = Field(False, description="Export each container's pressure beside its pod's.")
    max_series: StrictInt = Field(5000, ge=100, le=1_000_000, description="Hard cap on pod and container series.")
    derived: StrictBool = Field(True, description="Compute causes the kernel does not time from exact counters it has.")


class Config(Section):
    """The whole file."""

    log: LogSection = LogSection()
    http: HttpSection = HttpSection()
    priority: PrioritySection = PrioritySection()
    pressure: PressureSection = PressureSection()
    preemption: PreemptionSection = PreemptionSection()
    frequency: FrequencySection = FrequencySection()
    overcommit: OvercommitSection = OvercommitSection()
    io_limit: IoLimitSection = IoLimitSection()
    eviction: EvictionSection = EvictionSection()
    notices: NoticesSection = NoticesSection()


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the configuration file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(by_alias=True),
        "title": "Plimsoll configuration",
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))  # noqa: T201 - the module's one purpose as a program
