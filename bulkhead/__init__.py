"""Bulkhead: a multi-process web stack on one machine, and the drills that break it."""

__version__ = "0.1.0"
