"""Which completions end by a stop string: in their whole text, of which a prompt may hold the
beginning."""

from __future__ import annotations

from collections.abc import Sequence

from ..models.model import LoadedModel
from ..models.tokens import StopStrings
from .engine import GenerationRequest


class Endings:
    """Looks at the sequences of `request`, by their numbers there."""

    def __init__(self, model: LoadedModel, request: GenerationRequest) -> None:
        strings = list(request.options.stop_strings)
        self._strings = StopStrings(model.decoder, strings) if strings else None
        self._per_prompt = request.per_prompt
        begun = [own.tolist() for own in request.begun]
        #: A stop string that is whole in the beginning is not the new tokens' doing.
        self._begun = [
            [] if own and self._strings is not None and self._strings.ended(own) else own
            for own in begun
        ]
        #: bool [V]: tokens that may complete a stop string; None: there is none.
        self.may_end = self._strings.may_end if self._strings is not None else None

    def ended(self, number: int, new: Sequence[int]) -> bool:
        """Returns whether the last of a sequence's `new` tokens completes a stop string; the caller
        asks after each that may.
        """
        if self._strings is None:
            return False
        begun = self._begun[number // self._per_prompt] if self._begun else []
        return self._strings.ended([*begun, *new])
