"""Plimsoll: a Kubernetes node agent for co-locating latency-critical and batch pods."""

__version__ = "0.1.0"
