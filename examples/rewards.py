"""Reward functions with TRL's signature, used by a config as `rewards: [{use: ./rewards.py:short},
...]`; see docs/rewards.md.

Each gets lists with one entry for each response (the columns of the problems as further keywords),
and returns as many numbers.
"""

import asyncio


def text_of(completion):
    """A completion is text, or a list of messages where the prompt is a conversation."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def short(completions, **kwargs):
    """1 for nothing, 0.5 for 20 characters, falling towards 0."""
    return [20 / (20 + len(text_of(completion))) for completion in completions]


async def closeness(completions, answer, **kwargs):
    """-1..1 by the distance to the reference (`rescale: [-1, 1]`);

    None, not applicable, where the reference is no number.
    """

    async def one(completion, reference):
        await asyncio.sleep(0)  # here a judge or a sandbox would be asked
        if not isinstance(reference, int | float):
            return None
        last = text_of(completion).rstrip(" .").rpartition(" ")[2]
        return 1 - min(2, abs(int(last) - reference)) if last.lstrip("-").isdigit() else -1

    return await asyncio.gather(*map(one, completions, answer))
