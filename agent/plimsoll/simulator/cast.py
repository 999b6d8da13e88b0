"""The node and the pods of ``plimsoll demo``: a shop's services and what runs beside them. Data only."""

from __future__ import annotations

from plimsoll.model.pod import QosClass
from plimsoll.simulator.contention import Capacity
from plimsoll.simulator.workload import PodSpec, Shape

_MIB = 1 << 20
_GIB = 1 << 30
_PRIORITY = "plimsoll.io/qos-priority"

NODE = Capacity(cpus=8, memory=16 * _GIB, swap=8 * _GIB, io=400e6)
NODE_NAME = "demo-node"

# JSON is YAML. `shop` and `data` may raise their pods' priority, others may not; `analytics` is low by administrator.
CONFIG = """{
  "pressure": {"interval": "1s"},
  "preemption": {"mode": "enforce"},
  "frequency": {
    "mode": "enforce", "window": "4s", "coolDown": "2s", "shrinkStep": 0.5, "requestFloorRatio": 0.25,
    "targetUtilization": 0.85, "growAbove": 0.93, "shrinkBelow": 0.8
  },
  "priority": {
    "namespaces": {"analytics": "low"},
    "trustedNamespaces": ["shop", "data"]
  }
}
"""

# Where there is a swap file. In a minute it has to do what takes half an hour: larger steps, less patience, and much
# may be written. The others' load here comes in waves of seconds: no reason to stop for a minute.
OVERCOMMIT = {
    "mode": "enforce",
    "ratio": 1.1,
    "swapDevice": "/swap.img",
    "interval": "2s",
    "probation": "4s",
    "window": "10s",
    "step": {"start": 0.05, "smallest": 0.01, "largest": 0.1},
    "writeBudget": "1Gi",
    "highPressureLimit": 1.0,
}
SWAP_NODE = NODE._replace(memory=32 * _GIB)

PODS = (
    PodSpec(
        "shop", "web", Shape.DIURNAL, cpu=2.4, memory=1536 * _MIB, io=4e6, cpu_request=2.0,
        annotations={_PRIORITY: "high"},
    ),
    # Bursts beyond its quota: throttled.
    PodSpec(
        "shop", "checkout", Shape.BURSTY, cpu=2.0, memory=768 * _MIB, io=1e6,
        qos_class=QosClass.GUARANTEED, cpu_request=1.2, cpu_limit=1.2, memory_limit=1024 * _MIB,
        annotations={_PRIORITY: "high"},
    ),
    PodSpec(
        "shop", "search", Shape.DIURNAL, cpu=1.5, memory=2560 * _MIB, io=10e6, cpu_request=1.0,
        annotations={"koordinator.sh/qosClass": "LS"},
    ),
    # A spelling mistake: the agent says so, and goes by the default.
    PodSpec(
        "shop", "images", Shape.BURSTY, cpu=1.0, memory=512 * _MIB, io=30e6, cpu_request=0.5,
        annotations={_PRIORITY: "hihg"},
    ),
    PodSpec(
        "data", "postgres-0", Shape.STEADY, cpu=1.2, memory=3072 * _MIB, io=70e6, base=0.6,
        qos_class=QosClass.GUARANTEED, cpu_request=2.0, cpu_limit=2.0, memory_limit=4096 * _MIB,
        annotations={_PRIORITY: "high"},
    ),
    # Claims what its namespace may not have.
    PodSpec(
        "tenant-a", "miner", Shape.STEADY, cpu=1.0, memory=512 * _MIB, qos_class=QosClass.BEST_EFFORT,
        annotations={_PRIORITY: "high"},
    ),
    # Wants more memory than its limit lets it have: reclaims its own.
    PodSpec(
        "analytics", "spark", Shape.BATCH, cpu=2.5, memory=2560 * _MIB, io=40e6, base=0.1, lifetime=23.0,
        cpu_request=0.1, memory_limit=2048 * _MIB,
    ),
    PodSpec(
        "analytics", "etl", Shape.BATCH, cpu=1.5, memory=1536 * _MIB, io=90e6, base=0.1, lifetime=17.0,
        qos_class=QosClass.BEST_EFFORT,
    ),
    # Large enough to make the whole node short of memory while it runs.
    PodSpec(
        "ml", "train", Shape.BATCH, cpu=4.0, memory=5 * _GIB, io=20e6, base=0.1, lifetime=31.0,
        qos_class=QosClass.BEST_EFFORT, annotations={"volcano.sh/preemptable": "true"},
    ),
    PodSpec("kube-system", "node-local-dns", Shape.STEADY, cpu=0.1, memory=64 * _MIB, cpu_request=0.1),
)  # fmt: skip

# Beside them where there is a swap file: much of their memory is not used, until one of them uses some of it again.
HOARDERS = (
    PodSpec("analytics", "warehouse", Shape.STEADY, cpu=0.5, memory=4 * _GIB, idle=0.7, cpu_request=0.1),
    PodSpec("analytics", "notebook", Shape.STEADY, cpu=0.2, memory=2 * _GIB, idle=0.7, wakes=15.0, cpu_request=0.1),
)
