"""Tries out at load how a model can be sampled: sampling must predict what `score` does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

from ..models.masters import Masters
from ..models.model import LoadedModel, accepts, broken, largest
from ..models.ragged import pad
from ..models.ways import WAYS, Way
from ..wire.context import BadArguments, no_memory
from .rows import Rows

#: Largest difference of log-probabilities that is rounding, in nats: in float32, and in bfloat16.
TOLERANCE, ROUGH = 3e-4, 0.25
#: Rounding may be this many times as large as between a text that is padded and one that is not.
NOISES = 30
#: Log-probabilities below this are alike: they are of tokens that nothing samples.
FLOOR = -20.0
#: Tokens of the two prompts, and tokens that follow each.
SHORT, LONG, NEW = 1, 7, 3
#: Tokens that follow where states are recurrent: a fault may need its time to show.
LASTING = 24
#: Windows of attention that a prompt of a trial outgrows: in any model, and in those so small
#: (weights x window) that it takes no time.
WINDOW, WIDE_WINDOW, SMALL = 64, 512, 2**28
#: Experts chosen by a hair may change sides with rounding: one odd set of tokens is no fault.
TRIALS = 4
#: Sequences: two of each prompt. One of each ends after its first token.
OWNERS = np.array([0, 0, 1, 1])
ENDS_EARLY = np.array([True, False, False, True])


class Differs(Exception):
    """A log-probability that differs from that of `score`."""


@dataclass
class Trial:
    """Sequences of known tokens, and what the network says of them when it reads each at once."""

    prompts: list[np.ndarray]
    #: Tokens after the prompt of each sequence, int64 [4, new].
    tokens: np.ndarray
    #: Log-probabilities [4, new + 1, V] after the prompt and after each of its tokens.
    expected: Tensor
    tolerance: float


def usable_ids(model: LoadedModel) -> np.ndarray:
    """Returns the ids of ordinary tokens that an embedding and the tokenizer both have."""
    size = min(model.vocabulary, len(model.tokenizer))
    special = set(model.tokenizer.all_special_ids)
    ids = [i for i in range(size) if i not in special] if size < 1000 else range(100, size)
    return np.array(ids or range(size))


def right_padded(device: torch.device, sequences: list[np.ndarray]) -> Tensor:
    lengths = np.array([len(ids) for ids in sequences])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return torch.from_numpy(pad(np.concatenate(sequences), starts, lengths, left=False)).to(device)


def logprobs(model: LoadedModel, ids: Tensor, positions: Tensor) -> Tensor:
    return model.logits_at(ids, positions).float().log_softmax(-1)


def difference(have: Tensor, want: Tensor) -> float:
    """Returns the largest difference of two sets of log-probabilities; nan if one holds it."""
    return float((have.clamp_min(FLOOR) - want.clamp_min(FLOOR)).abs().max())


def sizes(model: LoadedModel) -> tuple[int, int]:
    """Tokens of the long prompt and tokens that follow, as many as this architecture needs."""
    window = largest(
        model.config, "sliding_window", "attention_window_size", "attention_chunk_size"
    )
    weights = sum(parameter.numel() for parameter in model.network.parameters())
    outgrown = WIDE_WINDOW if weights * WIDE_WINDOW <= SMALL else WINDOW
    long = LONG if window is None or window > outgrown else window + LONG
    new = NEW if attends(model) else LASTING
    limit = model.context_length or long + new
    new = max(1, min(new, limit // 2))
    return max(1, min(long, limit - new)), new


def attends(model: LoadedModel) -> bool:
    """Returns whether all that is kept between tokens is keys and values."""
    try:
        layers = DynamicCache(config=model.config).layers
    except Exception as error:
        first_line(error)
        return False
    linear = [isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers]
    kept = [isinstance(layer, DynamicLayer) for layer in layers]
    return len(layers) > 0 and all(kept) and not any(linear)


def make_trial(model: LoadedModel, attempt: int, tolerance: float) -> Trial:
    """Reads the sequences as `score` does, padded on the right and alone. Raises `Differs`."""
    long, new = sizes(model)
    ids = usable_ids(model)
    # Scattered over the vocabulary, and the same at every load.
    count = SHORT + long + 4 * new
    drawn = ids[(7919 * (1 + np.arange(count) + 61 * attempt)) % len(ids)]
    prompts = [drawn[:SHORT].astype(np.int32), drawn[SHORT : SHORT + long].astype(np.int32)]
    tokens = drawn[SHORT + long :].reshape(4, new).astype(np.int64)
    # The padding token may be sampled like any other, and some networks count positions by it.
    for holder in (model.config, model.tokenizer):
        padding = getattr(holder, "pad_token_id", None)
        if isinstance(padding, int) and 0 <= padding < model.vocabulary:
            tokens[:, min(1, new - 1)] = padding
            break
    whole = [np.concatenate([prompts[owner], tokens[i]]) for i, owner in enumerate(OWNERS)]
    padded = right_padded(model.device, whole)
    width = padded.shape[1]
    starts = np.arange(4) * width + np.array([len(prompts[owner]) for owner in OWNERS]) - 1
    positions = torch.from_numpy(starts[:, None] + np.arange(new + 1)).to(model.device)
    expected = logprobs(model, padded, positions.flatten()).reshape(4, new + 1, -1)
    if not bool(expected.isfinite().any(-1).all()) or bool(expected.isnan().any()):
        raise Differs("its probabilities are not finite: its weights are broken")
    # Neither padding nor a text's last token may reach what comes before it.
    alone = right_padded(model.device, [whole[0][:-1]])
    off = difference(logprobs(model, alone, positions[0, :-1]), expected[0, :-1])
    if not off <= tolerance:
        raise Differs(
            f"log-probabilities change by {off:.2g} with the tokens or the padding after them"
        )
    # How far apart two ways of adding up the same numbers are on this device.
    return Trial(prompts, tokens, expected, min(max(tolerance, NOISES * off), max(tolerance, 1e-2)))


def check_way(model: LoadedModel, way: Way, trial: Trial) -> None:
    """Feeds the trial's tokens as sampling does. Raises `Differs`, or what the network raises."""
    new = trial.tokens.shape[1]
    groups = [np.arange(4)] if way.pads else [np.array([2, 3]), np.array([0, 1])]
    for group in groups:
        for part in np.split(group, len(group)) if way.rows == 1 else [group]:
            check_rows(model, way, trial, part, new)
    if way.pads:
        check_rows(model, way, trial, np.array([0]), min(new, 1))  # without padding


def check_rows(model: LoadedModel, way: Way, trial: Trial, numbers: np.ndarray, steps: int) -> None:
    distinct, owners = np.unique(OWNERS[numbers], return_inverse=True)
    prompts = [trial.prompts[owner] for owner in distinct]
    rows = Rows(model, way, prompts, owners, trial.tokens.shape[1])
    logits = rows.read_prompts()
    for step in range(steps + 1):
        expected = trial.expected[torch.from_numpy(numbers).to(model.device), step]
        off = difference(logits.float().log_softmax(-1), expected)
        if not off <= trial.tolerance:
            raise Differs(
                f"sampled log-probabilities differ by {off:.2g} from those of the whole text"
            )
        if step == steps:
            return
        tokens = trial.tokens[numbers, step]
        if step == min(1, steps - 1) and way.selects and len(numbers) > 1:
            stays = np.flatnonzero(~ENDS_EARLY[numbers])
            rows.keep(torch.from_numpy(stays).to(model.device))
            numbers, tokens = numbers[stays], tokens[stays]
        logits = rows.read_token(torch.from_numpy(tokens).to(model.device))


@contextlib.contextmanager
def undisturbed(model: LoadedModel) -> Iterator[None]:
    """Random draws of the network leave those of training as they were."""
    cuda = model.device.type == "cuda"
    with torch.random.fork_rng(devices=[model.device] if cuda else []), torch.inference_mode():
        torch.manual_seed(0)
        tensor_cores = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False  # convolutions of 10 bits are no float32
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = tensor_cores


def choose_way(model: LoadedModel) -> Way:
    """Returns the fastest way in which sampling says what `score` does. Raises `BadArguments`
    without one.

    Weights are used as they are, in float32, where the kernels allow it: then the comparison is
    sharp. It costs some forward passes over at most forty tokens. Sets `counts_from_zero`.
    """
    rough = rounds(model)
    with undisturbed(model), model.autocast() if rough else contextlib.nullcontext():
        trials = Trials(model, ROUGH if rough else TOLERANCE)
        # Attention may turn a row of nan into numbers, so a trial does not find all of them.
        reason = broken(model.named_parameters()) or trials.reason
        for way in WAYS if reason is None else ():
            why = refusal(trials, partial(check_way, model, way))
            if why is None:
                return way
            if reason is None:
                reason = why
                model.counts_from_zero = counts_from_zero(model, trials)
    raise BadArguments(
        f"load_model: a {type(model.base).__name__} can't be sampled exactly ({model.name!r}): "
        f"{reason}"
    )


def halve(model: LoadedModel) -> None:
    """Lets a model whose dtype is bfloat16 compute with bfloat16 weights, or, where its network
    fails with them, cast its float32 weights as they are used.

    Raises `BadArguments` where neither works. Quantized weights stay what they are.
    """
    if model.dtype == torch.float32 or model.quantized:
        return
    model.masters = Masters(model.network)
    if failure_in_half(model) is None:
        model.masters.keep()
        return
    model.masters.undo()
    model.masters = None
    failure = failure_in_half(model)
    what = "be sampled" if model.kind == "causal" else "give values"
    if failure is not None:
        raise BadArguments(
            f"load_model: a {type(model.base).__name__} can't {what} in {str(model.dtype)[6:]} "
            f"({model.name!r}): {first_line(failure)}; use dtype float32"
        ) from failure


def failure_in_half(model: LoadedModel) -> Exception | None:
    """Returns what the network raises in bfloat16, if it does."""
    try:
        with undisturbed(model), model.autocast():
            if model.kind == "value":
                read_values(model)
            else:
                loose = make_trial(model, 1, float("inf"))
                numbers = np.arange(4) if model.way.pads else np.array([2, 3])
                steps = min(2, loose.tokens.shape[1])
                check_rows(model, model.way, loose, numbers[: model.way.rows], steps)
    except Exception as error:
        first_line(error)
        return error
    return None


def rounds(model: LoadedModel) -> bool:
    """Does the network compute in less than float32, whatever dtype the request names?"""
    return model.quantized or "flash" in str(getattr(model.config, "_attn_implementation", None))


class Trials:
    """Up to four, made when they are asked for. `reason`: why there is none."""

    def __init__(self, model: LoadedModel, tolerance: float) -> None:
        self._model, self._tolerance = model, tolerance
        self._made: list[Trial] = []
        self._attempts = 0
        self.reason: str | None = None
        while not self._made and self._attempts < TRIALS:
            self._make()
        if self._made:
            self.reason = None

    def _make(self) -> None:
        self._attempts += 1
        try:
            self._made.append(make_trial(self._model, self._attempts, self._tolerance))
        except Exception as error:
            self.reason = self.reason or first_line(error)

    def __iter__(self) -> Iterator[Trial]:
        yield from list(self._made)
        while self._attempts < TRIALS:
            made = len(self._made)
            self._make()
            yield from self._made[made:]


def refusal(trials: Trials, check: Callable[[Trial], None]) -> str | None:
    """Returns why no trial passes; None: one does. `check` raises `Differs`, or what the network
    raises.
    """
    reason = None
    for trial in trials:
        try:
            check(trial)
        except Differs as error:
            reason = reason or str(error)
        except Exception as error:
            return first_line(error)
        else:
            return None
    return reason or "it has no trial"


def counts_from_zero(model: LoadedModel, trials: Trials) -> bool:
    """Returns whether positions from 0 change nothing; some architectures begin elsewhere."""
    if not accepts(model.base, "position_ids"):
        return False
    trial = next(iter(trials))
    prompt = torch.from_numpy(trial.prompts[1].astype(np.int64)).to(model.device)[None]
    positions = torch.arange(prompt.shape[1], device=model.device)[None]
    try:
        logits = model.network(input_ids=prompt, position_ids=positions, use_cache=False).logits
    except Exception as error:
        first_line(error)
        return False
    return (
        difference(logits[0, -1].float().log_softmax(-1), trial.expected[2, 0]) <= trial.tolerance
    )


def first_line(error: Exception) -> str:
    """Returns what an error says, in one line. An error of memory is raised again."""
    if no_memory(error):
        raise error
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def read_values(model: LoadedModel) -> tuple[Tensor, Tensor]:
    """Returns the hidden states of two tokens, with others and padding after them and alone."""
    ids = usable_ids(model)
    drawn = ids[(7919 * (1 + np.arange(3 + LONG))) % len(ids)]
    padded = model.hidden_states(right_padded(model.device, [drawn[:3], drawn[3:]]))[0, :2].float()
    alone = model.hidden_states(right_padded(model.device, [drawn[:2]]))[0].float()
    return padded, alone


def check_values(model: LoadedModel) -> None:
    """That values depend on nothing after them. Raises `BadArguments`."""
    reason = "its hidden states change with the tokens or the padding after them"
    with undisturbed(model), model.autocast() if rounds(model) else contextlib.nullcontext():
        try:
            padded, alone = read_values(model)
        except Exception as error:
            reason, off = first_line(error), float("nan")
        else:
            off = float((padded - alone).abs().max() / alone.abs().max().clamp_min(1))
            if not bool(alone.isfinite().all()):
                reason, off = (
                    "its hidden states are not finite: its weights are broken",
                    float("nan"),
                )
        wrong = broken(model.named_parameters())
        if wrong is not None:
            reason, off = wrong, float("nan")
    if not off <= (ROUGH if rounds(model) else TOLERANCE):
        raise BadArguments(
            f"load_model: a {type(model.base).__name__} can't give values ({model.name!r}): "
            f"{reason}"
        )
