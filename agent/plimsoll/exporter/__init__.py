"""Report: metrics, health and the status page, from the last snapshot only."""
