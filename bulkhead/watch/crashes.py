"""Crash loops: what can serve comes back at once, what cannot is tried again after a pause. Pure.

The first death before a process was ready is no proof of anything (somebody may have killed it
while it booted), so that too is answered at once. From the second in a row on each pause is a
second longer than the one before, up to `LONGEST_S`: what was broken is back soon after it is
mended, and until then it costs next to nothing.
"""

LONGEST_S = 5.0
CRASHING = 2  # this many deaths in a row, none of them after it was ready, are a crash loop


def failures_after(failures: int, was_ready: bool) -> int:
    """How often in a row a program has failed, after one more death of it."""
    return 0 if was_ready else failures + 1


def pause_s(failures: int) -> float:
    """How long to wait before the next start."""
    return min(max(0.0, failures - 1.0), LONGEST_S)
