"""
Every metric family of this agent, but for prometheus-client's ``process_*``.

Names follow ``container_pressure_*`` of the kubelet: *waiting* is PSI ``some``, *stalled* is PSI ``full``. Names and
labels are an interface: dashboards and alerts stand on them. ``docs/metrics.md`` is made from here.
"""

from __future__ import annotations

from plimsoll.exporter.eviction_series import EVICTION_FAMILIES
from plimsoll.exporter.exposition import Family
from plimsoll.exporter.frequency_series import FREQUENCY_FAMILIES
from plimsoll.exporter.overcommit_series import OVERCOMMIT_FAMILIES, PUBLISH_FAMILIES

_WAITING = "Time in which at least one task waited (PSI some), by cause."
_STALLED = "Time in which no task could run for it (PSI full), by cause."
_RATIO = "Share of the window lost to the cause, 0 to 1, averaged by the kernel."
_CAUSE = ("cause", "source")
_WINDOW = ("degree", "window")
_POD = ("namespace", "pod", "priority")
_CONTAINER = ("namespace", "pod", "container", "priority")


def _waiting(level: str, owner: tuple[str, ...]) -> Family:
    return Family(f"plimsoll_{level}_pressure_waiting_seconds_total", "counter", _WAITING, (*owner, *_CAUSE), 6)


def _stalled(level: str, owner: tuple[str, ...]) -> Family:
    return Family(f"plimsoll_{level}_pressure_stalled_seconds_total", "counter", _STALLED, (*owner, *_CAUSE), 6)


def _ratio(level: str, owner: tuple[str, ...]) -> Family:
    return Family(f"plimsoll_{level}_pressure_ratio", "gauge", _RATIO, (*owner, *_CAUSE, *_WINDOW), 4)


POD_INFO = Family(
    "plimsoll_pod_info",
    "gauge",
    "One per pod: who decided its priority, and whether its cgroup was found.",
    ("namespace", "pod", "uid", "priority", "origin", "qos_class", "managed", "state"),
)
POD_WAITING = _waiting("pod", _POD)
POD_STALLED = _stalled("pod", _POD)
POD_EVENTS = Family(
    "plimsoll_pod_pressure_events_total",
    "counter",
    "Kernel events that witness a cause without timing it.",
    (*_POD, "cause", "event"),
)
POD_MEMORY = Family("plimsoll_pod_memory_bytes", "gauge", "Memory charged to the pod's cgroup.", _POD)
POD_RATIO = _ratio("pod", _POD)
CONTAINER_WAITING = _waiting("container", _CONTAINER)
CONTAINER_STALLED = _stalled("container", _CONTAINER)
CONTAINER_RATIO = _ratio("container", _CONTAINER)
SERIES_DROPPED = Family("plimsoll_series_dropped", "gauge", "Series left out of this page by pressure.maxSeries.")
NODE_WAITING = _waiting("node", ())
NODE_STALLED = _stalled("node", ())
NODE_RATIO = _ratio("node", ())
CAPABILITY = Family(
    "plimsoll_capability", "gauge", "1 where this node can do it; the reason where not.", ("capability", "reason")
)
INTENT_REJECTED = Family(
    "plimsoll_intent_rejected", "gauge", "Statements of pod owners that are not followed, by reason.", ("reason",)
)
SOURCE_UP = Family("plimsoll_source_up", "gauge", "1 while the source of observations answers.", ("source",))
SOURCE_AGE = Family(
    "plimsoll_source_age_seconds", "gauge", "Time since the source was last known to be good.", ("source",)
)
SOURCE_STUCK = Family(
    "plimsoll_source_stuck_seconds", "gauge", "How long a read has not come back; 0: none hangs.", ("source",)
)
SOURCE_ERRORS = Family(
    "plimsoll_source_errors_total", "counter", "Failures of a source, by reason.", ("source", "reason")
)
READ_ERRORS = Family(
    "plimsoll_read_errors_total", "counter", "Kernel files that could not be read, by outcome.", ("file", "outcome")
)
POLICY_STATUS = Family(
    "plimsoll_policy_status", "gauge", "1 for what each policy came to in the last tick.", ("policy", "mode", "status")
)
POLICY_SKIPPED = Family(
    "plimsoll_policy_skipped_total", "counter", "Ticks in which a policy failed, by reason.", ("policy", "reason")
)
POLICY_WRITES = Family(
    "plimsoll_policy_writes", "gauge", "Values the policy wants, whether they stand already or not.", ("policy", "mode")
)
POLICY_OBSERVED = Family(
    "plimsoll_policy_observed_writes",
    "gauge",
    "Values that would be written now if the policy did not only observe.",
    ("policy",),
)
POLICY_NOTES = Family(
    "plimsoll_policy_notes", "gauge", "What pods' owners should know, by reason.", ("policy", "reason")
)
POLICY_CONFLICTS = Family(
    "plimsoll_policy_conflicts", "gauge", "Knobs for which two policies want different values; the first one wins."
)
WRITES = Family(
    "plimsoll_writes_total",
    "counter",
    "What trying to write a knob came to, by outcome. One that stood already is not counted.",
    ("policy", "knob", "outcome"),
)
KNOB_DRIFT = Family(
    "plimsoll_knob_drift_total", "counter", "Times somebody else had changed a knob the agent holds.", ("knob",)
)
KNOB_DISABLED = Family(
    "plimsoll_knob_disabled", "gauge", "1 for a knob given up on for now, with the kernel's errno.", ("knob", "reason")
)
KNOBS_HELD = Family("plimsoll_knobs_held", "gauge", "Knobs whose original value is kept to be put back.")
JOURNAL_OK = Family(
    "plimsoll_journal_ok", "gauge", "0 while the journal cannot be written: no knob is touched for the first time."
)
JOURNAL_FOUND = Family(
    "plimsoll_journal_found", "gauge", "1 for what the journal was found to be at the start of the agent.", ("state",)
)
ACTING_STUCK = Family("plimsoll_acting_stuck_seconds", "gauge", "How long a write has not come back; 0: none hangs.")
AUDIT_LOST = Family("plimsoll_audit_lines_lost_total", "counter", "Lines of the audit log that could not be written.")
NOTICES_SENT = Family(
    "plimsoll_notices_sent_total", "counter", "Notices to pods' owners that the API server took.", ("channel",)
)
NOTICES_FAILED = Family(
    "plimsoll_notices_failed_total", "counter", "Requests with notices that came to nothing.", ("channel", "reason")
)
NOTICES_SUPPRESSED = Family(
    "plimsoll_notices_suppressed_total", "counter", "Notices not told, or not told again, so that there is no storm."
)
NOTICES_WAITING = Family("plimsoll_notices_waiting", "gauge", "Notices still to be told.")
BUILD = Family("plimsoll_build_info", "gauge", "The running version.", ("version", "python", "native"))
TICKS = Family("plimsoll_ticks_total", "counter", "Observations since start.")
TICK_SECONDS = Family("plimsoll_tick_seconds_total", "counter", "Time spent observing.")
TICK_LAST = Family("plimsoll_tick_last_seconds", "gauge", "Time the last observation took.")
RELOAD_OK = Family("plimsoll_config_last_reload_successful", "gauge", "0 while the file on disk is refused.")
RELOAD_TIME = Family(
    "plimsoll_config_last_reload_success_timestamp_seconds", "gauge", "When the configuration in force was loaded."
)
TLS_OK = Family(
    "plimsoll_tls_last_reload_successful", "gauge", "0 while the certificate files on disk are refused; only with TLS."
)
TLS_TIME = Family(
    "plimsoll_tls_last_reload_success_timestamp_seconds",
    "gauge",
    "When the certificate in force was loaded; only with TLS.",
)

FAMILIES = (
    POD_INFO,
    POD_WAITING,
    POD_STALLED,
    POD_EVENTS,
    POD_MEMORY,
    POD_RATIO,
    CONTAINER_WAITING,
    CONTAINER_STALLED,
    CONTAINER_RATIO,
    SERIES_DROPPED,
    NODE_WAITING,
    NODE_STALLED,
    NODE_RATIO,
    CAPABILITY,
    INTENT_REJECTED,
    SOURCE_UP,
    SOURCE_AGE,
    SOURCE_STUCK,
    SOURCE_ERRORS,
    READ_ERRORS,
    POLICY_STATUS,
    POLICY_SKIPPED,
    POLICY_WRITES,
    POLICY_OBSERVED,
    POLICY_NOTES,
    POLICY_CONFLICTS,
    WRITES,
    KNOB_DRIFT,
    KNOB_DISABLED,
    KNOBS_HELD,
    JOURNAL_OK,
    JOURNAL_FOUND,
    ACTING_STUCK,
    *OVERCOMMIT_FAMILIES,
    *EVICTION_FAMILIES,
    *FREQUENCY_FAMILIES,
    AUDIT_LOST,
    NOTICES_SENT,
    NOTICES_FAILED,
    NOTICES_SUPPRESSED,
    NOTICES_WAITING,
    *PUBLISH_FAMILIES,
    BUILD,
    TICKS,
    TICK_SECONDS,
    TICK_LAST,
    RELOAD_OK,
    RELOAD_TIME,
    TLS_OK,
    TLS_TIME,
)
"""In the order of the page."""
