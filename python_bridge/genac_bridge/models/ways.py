"""Ways to sample the sequences of a batch, from the fastest to the one that always fits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Way:
    """How the sequences of one batch share the network's forward passes."""

    #: As `load_model` answers it and `docs/models.md` lists it.
    name: str
    #: Prompts of different lengths share a batch, with padding on the left.
    pads: bool
    #: A row leaves the batch soon after it has finished; a row of a prompt is a copy of its state.
    selects: bool
    #: The worker's own masks and cache where all layers attend to everything, else the library's.
    own: bool = False
    #: Rows of a batch; None: as memory allows.
    rows: int | None = None
    #: Keys, values and states are kept between tokens; else each token reads the sequence again.
    cached: bool = True


TOGETHER = Way("together", pads=True, selects=True, own=True)
#: Tried in this order when a model is loaded; the first that is exact is taken.
WAYS = (
    TOGETHER,
    # Linear attention that hides padding from its states; position biases (ALiBi).
    Way("masked", pads=True, selects=True),
    # Recurrent states that padding disturbs.
    Way("equal-lengths", pads=False, selects=True),
    # States whose rows can't be selected, because the modules hold them.
    Way("whole-groups", pads=False, selects=False),
    Way("one-by-one", pads=False, selects=False, rows=1),
    # No state at all, or one that can't be used: quadratic in the length.
    Way("reread", pads=True, selects=True, cached=False),
)
