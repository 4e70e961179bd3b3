"""Each loss of TRL with an advantage for each token: its value and its gradient against the
formula, written down here once more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import Make, first_batch, letter_values, letters

TOKENS = {"by": "tokens", "tokens": 4}


def per_token(trainer: Any, output: dict[str, Any]) -> torch.Tensor:
    """r - V of every token, from what the own critic is known to say."""
    expected = torch.zeros(output["completion_ids"].shape)
    for row, one in enumerate(trainer.valuations):
        values = [value for tokens, value in letter_values(one) for _ in range(tokens)]
        assert len(values) == int(output["completion_mask"][row].sum())
        expected[row, : len(values)] = one["reward"] - torch.tensor(values)
    return expected


@pytest.fixture
def credited(make: Make, own_critic: str, no_gate: str) -> Any:
    """A trainer whose first batch is credited, and that batch."""

    def build(**options: Any) -> Any:
        settings = {
            "critic": own_critic,
            "controller_config": no_gate,
            "segmentation": TOKENS,
            "scale_rewards": "none",
            "log_completions": True,
            "bf16": False,
        }
        trainer = make(**{**settings, **options})
        output = first_batch(trainer)
        trainer.current_gradient_accumulation_steps = 1
        return trainer, output

    return build


def logps(trainer: Any, output: dict[str, Any]) -> torch.Tensor:
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
    attention = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
    length = output["completion_ids"].shape[1]
    logits = (
        trainer.model(input_ids=ids, attention_mask=attention).logits[:, -length - 1 : -1]
        / trainer.temperature
    )
    return torch.log_softmax(logits, -1).gather(2, output["completion_ids"].unsqueeze(2)).squeeze(2)


def by_hand(
    loss_type: str, advantages: torch.Tensor, logps: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """At the first step, where every ratio is 1 and only its gradient is not."""
    ratio = torch.exp(logps - logps.detach())
    if loss_type in ("cispo", "vespo"):
        each = -advantages * logps
    elif loss_type == "sapo":
        temperature = torch.where(advantages > 0, 1.0, 1.05)
        each = -advantages * torch.sigmoid(temperature * (ratio - 1)) * 4 / temperature
    else:
        each = -advantages * ratio
    if loss_type in ("grpo", "sapo"):
        return ((each * mask).sum(1) / mask.sum(1)).mean()
    if loss_type == "dr_grpo":
        return (each * mask).sum() / (len(each) * 12)
    return (each * mask).sum() / mask.sum()


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo"])
def test_loss_and_gradient(credited: Any, loss_type: str) -> None:
    # CISPO's bound is on the ratio itself.
    trainer, output = credited(
        loss_type=loss_type, **({"epsilon_high": 5.0} if loss_type == "cispo" else {})
    )
    expected = per_token(trainer, output)
    np.testing.assert_allclose(output["advantages"].numpy(), expected.numpy(), atol=1e-6)
    # Not one advantage for each completion: some response has several.
    assert any(len(set(row[row != 0].tolist())) > 1 for row in expected)

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, list(trainer.model.parameters())))

    loss = trainer.compute_loss(trainer.model, output)
    theirs = gradients(loss)
    hand = by_hand(loss_type, expected, logps(trainer, output), output["completion_mask"])
    assert loss.item() == pytest.approx(hand.item(), abs=1e-5)
    assert max(g.abs().max().item() for g in theirs) > 1e-4
    for got, wanted in zip(theirs, gradients(hand), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_scale_of_advantages(credited: Any, scale: str) -> None:
    """batch, and group, which is for a group's own mean: the root mean square of all tokens'
    advantages; none: 1.
    """
    trainer, output = credited(scale_rewards=scale, per_device_train_batch_size=8)
    plain = per_token(trainer, output)
    if scale != "none":
        plain = plain / plain[output["completion_mask"].bool()].square().mean().sqrt()
    np.testing.assert_allclose(output["advantages"].numpy(), plain.numpy(), rtol=1e-4, atol=1e-6)


def test_top_entropy_quantile_keeps_the_tokens_that_are_open(credited: Any) -> None:
    trainer, output = credited(top_entropy_quantile=0.5, loss_type="bnpo")
    length = output["completion_ids"].shape[1]
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
    attention = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
    with torch.no_grad():
        _, entropies, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, attention, length, compute_entropy=True
        )
        mask = output["completion_mask"]
        kept = mask * (entropies >= entropies[mask.bool()].float().quantile(0.5))
        loss = trainer.compute_loss(trainer.model, output)
    assert 0 < kept.sum() < mask.sum()
    assert loss.item() == pytest.approx(
        (-(output["advantages"] * kept).sum() / mask.sum()).item(), abs=1e-5
    )


def test_off_policy_mask_is_for_each_token_s_sign(credited: Any) -> None:
    """TRL drops negative advantages of responses that are off policy; here, of their tokens."""
    trainer, output = credited(off_policy_mask_threshold=0.1, loss_type="bnpo")
    with torch.no_grad():
        own = logps(trainer, output)
        off = torch.tensor([1.0, 0.0, 0.0, 1.0]).unsqueeze(
            1
        )  # the sampler gave the tokens of two responses e times the chance
        output["old_per_token_logps"] = own + off
        loss = trainer.compute_loss(trainer.model, output)
    advantages, mask = output["advantages"], output["completion_mask"]
    kept = ((advantages >= 0) | (off == 0)).float()
    assert 0 < (kept * mask).sum() < mask.sum()
    ratio = torch.exp(-off)
    each = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages) * kept
    assert loss.item() == pytest.approx(((each * mask).sum() / mask.sum()).item(), abs=1e-5)


def test_beta_adds_the_distance_to_the_reference(credited: Any) -> None:
    trainer, output = credited(beta=0.5, loss_type="bnpo")
    with torch.no_grad():
        output["ref_per_token_logps"] = logps(trainer, output) - 1
        loss = trainer.compute_loss(trainer.model, output)
    advantages, mask = output["advantages"], output["completion_mask"]
    hand = (-(advantages * mask).sum() / mask.sum()) + 0.5 * (np.exp(-1) + 1 - 1)
    assert loss.item() == pytest.approx(hand.item(), abs=1e-5)
    assert trainer._metrics["train"]["kl"] == [pytest.approx(np.exp(-1), abs=1e-5)]


def test_truncated_completions_are_masked_and_still_judged(credited: Any) -> None:
    """They carry no gradient; the critic learns from their rewards all the same."""
    trainer, output = credited(mask_truncated_completions=True, per_device_train_batch_size=8)
    cut = output["completion_mask"].sum(1) == 0
    assert cut.any()
    for row, one in enumerate(trainer.valuations):
        length = sum(segment["tokens"] for segment in one["segments"])
        assert length == 12 if cut[row] else length == output["completion_mask"][row].sum()
    assert output["advantages"][cut].abs().sum() > 0


def test_pad_to_multiple_of(credited: Any) -> None:
    trainer, output = credited(pad_to_multiple_of=8)
    assert output["advantages"].shape == output["completion_ids"].shape == (4, 16)
    np.testing.assert_allclose(
        output["advantages"].numpy(), per_token(trainer, output).numpy(), atol=1e-6
    )


def test_gamma_and_lambda(credited: Any) -> None:
    """Generalized advantage estimation over segments, written down once more."""
    trainer, output = credited(gamma=0.9, lam=0.5)
    for row, one in enumerate(trainer.valuations):
        values = [value for _, value in letter_values(one)]
        advantage, expected = 0.0, []
        for k in reversed(range(len(values))):
            following = values[k + 1] if k + 1 < len(values) else None
            delta = (one["reward"] if following is None else 0.9 * following) - values[k]
            advantage = delta + (0.0 if following is None else 0.9 * 0.5 * advantage)
            expected.insert(0, advantage)
        tokens = [
            a
            for (count, _), a in zip(letter_values(one), expected, strict=True)
            for _ in range(count)
        ]
        np.testing.assert_allclose(
            output["advantages"][row, : len(tokens)].numpy(), tokens, atol=1e-6
        )


def fewest_letters(completions: list[Any], **_: Any) -> list[float]:
    """1 for the half with the smallest share of letters, where the critic expects the least."""
    shares = letters(completions)
    return [float(share < sorted(shares)[len(shares) // 2]) for share in shares]


def test_a_critic_that_explains_less_than_the_mean_is_not_used(make: Make, own_critic: str) -> None:
    """The gate, which is on by default: the advantages are then r - mean of the group, alike for
    all tokens.
    """
    trainer = make(
        {"reward_funcs": fewest_letters},
        critic=own_critic,
        segmentation=TOKENS,
        scale_rewards="none",
        log_completions=True,
    )
    output = first_batch(trainer)
    assert trainer._metrics["train"]["critic/explained_variance"][0] < 0
    assert trainer._metrics["train"]["gate/fallback"] == [1]
    rewards = [one["reward"] for one in trainer.valuations]
    assert sorted(rewards) == [0, 0, 1, 1]
    for row, reward in enumerate(rewards):
        length = int(output["completion_mask"][row].sum())
        np.testing.assert_allclose(
            output["advantages"][row, :length].numpy(), reward - 0.5, atol=1e-6
        )


def test_segments_begin_after_unlikely_tokens(credited: Any) -> None:
    """Though GRPO does not need the log-probabilities where each batch is used once."""
    trainer, output = credited(segmentation={"by": "low-probability", "probability": 0.0034})
    assert "old_per_token_logps" not in output
    with torch.no_grad():
        unlikely = logps(trainer, output).exp() < 0.0034
    assert 0 < unlikely.sum() < unlikely.numel()
    for row, one in enumerate(trainer.valuations):
        length = int(output["completion_mask"][row].sum())
        starts = np.cumsum([0] + [segment["tokens"] for segment in one["segments"]])
        assert starts.tolist() == [
            0,
            *(np.flatnonzero(unlikely[row, : length - 1].numpy()) + 1).tolist(),
            length,
        ]


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_truncated_completions_that_are_masked_have_segments_too(
    credited: Any, num_iterations: int
) -> None:
    """On policy, and off policy, where TRL has log-probabilities, but none of these."""
    trainer, output = credited(
        segmentation={"by": "low-probability", "probability": 0.0034, "max_segments": 100},
        max_completion_length=100,
        mask_truncated_completions=True,
        num_iterations=num_iterations,
        per_device_train_batch_size=8,
    )
    masked = output["completion_mask"].sum(1) == 0
    assert masked.any()
    assert not masked.all()
    lengths = [sum(part["tokens"] for part in one["segments"]) for one in trainer.valuations]
    read = torch.arange(100) < torch.tensor(lengths).unsqueeze(1)
    with torch.no_grad():
        unlikely = logps(trainer, {**output, "completion_mask": read.long()}).exp() < 0.0034
    assert unlikely[masked].any()
    for row, one in enumerate(trainer.valuations):
        starts = np.cumsum([segment["tokens"] for segment in one["segments"]])[:-1]
        assert (
            starts.tolist()
            == (np.flatnonzero(unlikely[row, : lengths[row] - 1].numpy()) + 1).tolist()
        )


def test_segments_that_need_log_probabilities_have_them_by_the_controller_s_file_too(
    make: Make, own_critic: str, tmp_path: Path
) -> None:
    config = tmp_path / "controller.yaml"
    config.write_text("credit: {segmentation: {by: low-probability}}\n")
    first_batch(make(critic=own_critic, controller_config=str(config)))
    # Off policy, TRL has them.
    first_batch(make(critic=own_critic, controller_config=str(config), num_iterations=2))


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "luspo", "cispo"])
def test_the_sequence_s_ratio_with_each_token_s_own_advantage(
    credited: Any, loss_type: str
) -> None:
    """GSPO-token (arXiv 2507.18071, eq. 13-14): the ratio is the sequence's, the gradient goes
    through each token alone.
    """
    trainer, output = credited(
        loss_type=loss_type, importance_sampling_level="sequence", num_iterations=2
    )
    # As if the actor had moved since it sampled.
    old = output["old_per_token_logps"] = output["old_per_token_logps"] + torch.linspace(
        -0.4, 0.1, output["completion_ids"].numel()
    ).reshape(output["completion_ids"].shape)
    loss = trainer._compute_loss(trainer.model, output)
    loss.backward()
    ours = {name: p.grad.clone() for name, p in trainer.model.named_parameters()}
    trainer.model.zero_grad()

    ids, mask = (
        torch.cat([output[f"prompt_{n}"], output[f"completion_{n}"]], dim=1)
        for n in ("ids", "mask")
    )
    length = output["completion_ids"].shape[1]
    logps = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, length)[0]
    own = output["completion_mask"]
    mean = ((logps.detach() - old) * own).sum(-1, keepdim=True) / own.sum(-1, keepdim=True)
    ratio = mean.exp() * (logps - logps.detach()).exp()
    advantages = per_token(trainer, output)
    if loss_type == "cispo":
        expected = -ratio.detach().clamp(max=trainer.epsilon_high) * advantages * logps
    else:
        clipped = ratio.clamp(1 - trainer.epsilon_low, 1 + trainer.epsilon_high)
        expected = -torch.min(ratio * advantages, clipped * advantages)
    total = {
        "grpo": ((expected * own).sum(-1) / own.sum(-1)).mean(),
        "luspo": (expected * own).sum(-1).mean(),
    }.get(loss_type, (expected * own).sum() / output["num_items_in_batch"])
    torch.testing.assert_close(loss, total)
    total.backward()
    for name, p in trainer.model.named_parameters():
        torch.testing.assert_close(ours[name], p.grad, msg=name)
    assert torch.equal(output["old_per_token_logps"], old)
    assert trainer.importance_sampling_level == "sequence"


def test_one_advantage_for_all_tokens_is_gspo_itself(make: Make, credited: Any) -> None:
    """Where all tokens of a completion have one advantage, TRL's own sequence-level loss has the
    same value and gradient.
    """
    trainer, output = credited(
        loss_type="grpo", importance_sampling_level="sequence", num_iterations=2
    )
    shift = torch.linspace(-0.4, 0.1, output["completion_ids"].numel()).reshape(
        output["completion_ids"].shape
    )
    output["old_per_token_logps"] = output["old_per_token_logps"] + shift
    each = torch.tensor([1.0, -0.5, 0.25, -2.0])
    found = []
    for advantages in (each, each.unsqueeze(1).expand_as(output["completion_ids"])):
        output["advantages"] = advantages
        loss = trainer._compute_loss(trainer.model, output)
        loss.backward()
        found.append((loss, {n: p.grad.clone() for n, p in trainer.model.named_parameters()}))
        trainer.model.zero_grad()
    (theirs, their_gradient), (ours, our_gradient) = found
    torch.testing.assert_close(ours, theirs)
    for name, gradient in our_gradient.items():
        torch.testing.assert_close(gradient, their_gradient[name], msg=name, rtol=1e-4, atol=1e-6)
