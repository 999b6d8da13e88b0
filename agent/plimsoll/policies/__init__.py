"""Decide: pure functions from what was observed to what is wanted. No clock, file, random, thread, socket or log."""
