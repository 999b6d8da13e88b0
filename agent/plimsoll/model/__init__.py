"""Immutable values the layers exchange. Standard library only; no I/O, no clock, no thread, no log."""
