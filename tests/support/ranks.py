"""Quantiles, counted in another way than the product does."""

from collections.abc import Sequence


def nearest_rank(ordered: Sequence[float], per_mille: int) -> float:
    """The value at rank ceil(n x per_mille / 1000) of n ordered values, counted from 1."""
    rank = -(-len(ordered) * per_mille // 1000)  # in whole numbers: 0.999 x n may round up
    return ordered[max(rank, 1) - 1]
