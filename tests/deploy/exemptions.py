"""
What checkers find and why it stays: data only. test_checkers.py holds it complete, docs/security.md shows it.

An exemption that nothing needs any more is an error, too.
"""

from __future__ import annotations

from typing import NamedTuple


class Exemption(NamedTuple):
    """One check of a checker, for these objects or files, in the chart's most and in its least privileged form."""

    checker: str
    check: str
    targets: frozenset[str]
    about: str
    reason: str


AGENT, CLEANUP, JOB, FILE = "DaemonSet/plimsoll", "DaemonSet/plimsoll-cleanup", "Job/plimsoll-cleanup", "Dockerfile"
_ROOT = (
    "the kernel's control files belong to root; by itself no capability comes with it, and observing agents are nobody"
)
_DRIVER = "where `frequency` enforces by Speed Select: its driver wants it of who changes a register; no other is added"
_SWAP = (
    "with `overcommit.activate` or `onExit: drain` only: Kubernetes has no lesser way to let a container open a disk"
)
_ALL = "a privileged container has them all; every other one drops them all"
_CPU = "an agent that is throttled observes late and lets go late; it is small and its requests say so"
_NETWORK = "`networkPolicy.enabled` brings one for what comes in; where the API server is no portable policy can say"
_BRIEF = "there for seconds after an uninstall, listens to nothing"
_PULL = "by digest, as `image.digest` has it, the nodes' copy is the right one, and a node without a registry goes on"

EXEMPTIONS = (
    Exemption("checkov", "CKV_K8S_11", frozenset({AGENT, CLEANUP, JOB}), "CPU limit", _CPU),
    Exemption("kube-score", "container-resources", frozenset({AGENT, CLEANUP, JOB}), "CPU limit", _CPU),
    Exemption("checkov", "CKV_K8S_23", frozenset({AGENT}), "root, where a policy enforces", _ROOT),
    Exemption("checkov", "CKV_K8S_40", frozenset({AGENT}), "low user ID, where a policy enforces", _ROOT),
    Exemption(
        "kube-score",
        "container-security-context-user-group-id",
        frozenset({AGENT, CLEANUP}),
        "low user ID, where a policy enforces",
        _ROOT,
    ),
    Exemption("checkov", "CKV_K8S_39", frozenset({AGENT, CLEANUP}), "`CAP_SYS_ADMIN`", _DRIVER),
    Exemption("checkov", "CKV_K8S_25", frozenset({AGENT, CLEANUP}), "added capability", _DRIVER),
    Exemption("checkov", "CKV_K8S_16", frozenset({AGENT, CLEANUP}), "privileged", _SWAP),
    Exemption("kube-score", "container-security-context-privileged", frozenset({AGENT, CLEANUP}), "privileged", _SWAP),
    Exemption("checkov", "CKV_K8S_20", frozenset({AGENT, CLEANUP}), "privilege escalation, where privileged", _SWAP),
    Exemption("checkov", "CKV_K8S_28", frozenset({AGENT, CLEANUP}), "`NET_RAW`, where privileged", _ALL),
    Exemption("checkov", "CKV_K8S_37", frozenset({AGENT, CLEANUP}), "capabilities, where privileged", _ALL),
    Exemption(
        "checkov",
        "CKV_K8S_43",
        frozenset({AGENT}),
        "image by digest",
        "the digest is that of the administrator's own build: the chart cannot know it",
    ),
    Exemption("checkov", "CKV_K8S_15", frozenset({AGENT}), "`imagePullPolicy: Always`", _PULL),
    Exemption(
        "kube-score",
        "container-image-pull-policy",
        frozenset({AGENT, CLEANUP, JOB}),
        "`imagePullPolicy: Always`",
        _PULL,
    ),
    Exemption("checkov", "CKV2_K8S_6", frozenset({"Pod/plimsoll"}), "network policy", _NETWORK),
    Exemption("kube-score", "pod-networkpolicy", frozenset({AGENT}), "network policy", _NETWORK),
    Exemption("checkov", "CKV2_K8S_6", frozenset({"Pod/plimsoll-cleanup"}), "network policy", _BRIEF),
    Exemption("kube-score", "pod-networkpolicy", frozenset({CLEANUP, JOB}), "network policy", _BRIEF),
    Exemption(
        "kube-score",
        "container-ephemeral-storage-request-and-limit",
        frozenset({AGENT, CLEANUP, JOB}),
        "limit for ephemeral storage",
        "it writes nothing but its log: a limit would have the kubelet evict an agent that has much to say",
    ),
    Exemption("checkov", "CKV_K8S_8", frozenset({CLEANUP}), "liveness probe", "it sleeps"),
    Exemption("checkov", "CKV_K8S_9", frozenset({CLEANUP}), "readiness probe", "that it runs is all it has to say"),
    Exemption(
        "checkov",
        "CKV_DOCKER_2",
        frozenset({FILE}),
        "HEALTHCHECK",
        "Kubernetes does not look at it: the chart has probes",
    ),
    Exemption(
        "checkov",
        "CKV_DOCKER_7",
        frozenset({FILE}),
        "tag of the base image",
        "`BASE` has one, which the checker does not see through the argument",
    ),
)
