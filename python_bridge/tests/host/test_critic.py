"""The critic that a script asks line by line."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from genac_bridge.host import critic as module
from genac_bridge.host.critic import Critic, CriticError

#: Answers in order, "slow" after a while.
ANSWERS = """
import json, sys, time
for line in sys.stdin:
    response = json.loads(line)["response"]
    time.sleep(5 if response == "slow" else 0)
    print(json.dumps({"value": .5, "rationale": response, "prefixes": []}), flush=True)
"""


def test_an_answer_that_nobody_waits_for_is_not_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "critic.py").write_text(ANSWERS, "utf-8")
    monkeypatch.setattr(module, "command", lambda: [sys.executable, str(tmp_path / "critic.py")])

    def ring(*_: Any) -> None:
        raise KeyboardInterrupt

    with Critic("folder") as critic:
        assert critic.value("p", "a")["rationale"] == "a"
        before = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                critic.value("p", "slow")
        finally:
            signal.signal(signal.SIGALRM, before)
        with pytest.raises(CriticError, match="a question was interrupted, which closed"):
            critic.value("p", "b")
