"""The only place that touches the host: files under a given root, by directory descriptor."""
