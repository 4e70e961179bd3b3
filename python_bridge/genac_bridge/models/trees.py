"""Trees of sequences that begin alike: each token where it first differs from the one before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass
class Tree:
    """The network's further inputs for rows that are trees."""

    positions: Tensor
    """int64 [rows, width]: of each token on its path."""
    mask: Tensor
    """[rows, 1, width, width]: which tokens each one sees; bool, or added to the scores."""


@dataclass
class Row:
    """Sequences that are read as one tree, or as several side by side."""

    sequences: list[int]
    #: Of each sequence, the places of its tokens in the row.
    paths: list[np.ndarray]
    ids: list[np.ndarray]
    #: (place of the first new token, their number, places before them on the path)
    branches: list[tuple[int, int, np.ndarray]]
    size: int = 0

    def add(self, sequence: int, tokens: np.ndarray, alike: int) -> None:
        """`alike`: tokens that the sequence begins with as the one added last does."""
        before = self.paths[-1][:alike] if self.paths else np.zeros(0, np.int64)
        new = tokens[alike:]
        places = np.arange(self.size, self.size + len(new))
        self.sequences.append(sequence)
        self.paths.append(np.concatenate([before, places]))
        if len(new):
            self.ids.append(new)
            self.branches.append((self.size, len(new), before))
        self.size += len(new)

    def join(self, other: Row) -> None:
        """Puts another tree behind this one."""
        self.sequences += other.sequences
        self.paths += [path + self.size for path in other.paths]
        self.ids += other.ids
        self.branches += [
            (start + self.size, count, before + self.size)
            for start, count, before in other.branches
        ]
        self.size += other.size


def in_rows(
    ids: np.ndarray, cu: np.ndarray, needed: np.ndarray, used: np.ndarray, most: int
) -> list[Row]:
    """Returns the first `needed[s]` tokens of each of the sequences `used`, in rows of at most
    `most` tokens, or of one sequence.
    """
    texts = {int(s): ids[cu[s] : cu[s] + needed[s]].astype(np.int32) for s in used}
    # Big-endian bytes sort as the numbers do, so that neighbours have the longest common beginning.
    order = sorted(texts, key=lambda s: texts[s].astype(">i4").tobytes())
    rows: list[Row] = []
    last: np.ndarray | None = None
    for s in order:
        tokens = texts[s]
        alike = 0 if last is None else common(last, tokens)
        last = tokens
        if not rows or alike == 0 or rows[-1].size + len(tokens) - alike > most:
            rows.append(Row([], [], [], []))
            alike = 0
        rows[-1].add(s, tokens, alike)
    return filled(rows)


def filled(trees: list[Row]) -> list[Row]:
    """Puts small trees behind others, in rows as long as the largest: less is padding."""
    rows: list[Row] = []
    for tree in sorted(trees, key=lambda tree: -tree.size):
        row = next((row for row in rows if row.size + tree.size <= rows[0].size), None)
        if row is None:
            rows.append(tree)
        else:
            row.join(tree)
    return rows


def common(one: np.ndarray, other: np.ndarray) -> int:
    """Returns how many tokens both begin with."""
    length = min(len(one), len(other))
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else length
