"""Counter-based random numbers: the draw for (seed, position) depends on nothing else."""

from __future__ import annotations

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014; constants by Stafford), uint64 in and
    out.
    """
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(seeds: np.ndarray, start: int | np.ndarray, count: int) -> np.ndarray:
    """Returns uniforms in (0, 1], float64 [len(seeds), count], for `count` positions from `start`,
    an int or one for each seed; `seeds` uint64.

    The seed is mixed first: without it, seeds that differ by the golden constant would share one
    shifted stream.
    """
    keys = mix(seeds.astype(np.uint64) ^ GOLDEN)
    begin = np.asarray(start, np.uint64).reshape(-1, 1)
    counters = (begin + np.arange(1, count + 1, dtype=np.uint64)) * GOLDEN
    bits = mix(keys[:, None] + counters) >> np.uint64(11)
    # Half a unit keeps 0 out: inverse-CDF sampling with u > 0 can't land on a token of probability
    # zero.
    return (bits.astype(np.float64) + 0.5) * 2.0**-53


def join_seeds(words: np.ndarray) -> np.ndarray:
    """uint32 [N, 2], low word first, to uint64 [N]."""
    wide = words.astype(np.uint64)
    return wide[:, 0] | (wide[:, 1] << np.uint64(32))
