"""Untrusted text to checked values. The only user of PyYAML and pydantic."""
