"""A trainer that is stopped while an answer is on its way: the answer still arrives, and the
request is served once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

#: Counts its calls in a file, and takes some seconds for each.
SLOW_CRITIC = """
import { appendFileSync } from 'node:fs';
import { z } from 'zod';
export default {
  name: 'slow',
  needs: 'states',
  options: z.strictObject({ calls: z.string(), seconds: z.number() }),
  create: ({ calls, seconds }) => ({
    sharesFirstState: true,
    async value(states) {
      appendFileSync(calls, 'x');
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      return states.map(() => ({ value: 0.25, rationale: '', parsed: 'ok', completions: [] }));
    },
  }),
};
"""

TRAINER = """
import json, sys
from genac_bridge.host.controller import Controller

logs, critic, calls = sys.argv[1:]
controller = Controller(logs)
options = {"critic": {"use": critic, "calls": calls, "seconds": 1.0}}
actor = {"name": "a", "parameters": 1}
asked = {"config_file": None, "options": options, "base": logs, "logs": logs, "actor": actor}
controller.ask("open", asked)
print("asks", flush=True)
for _ in range(2):
    asked = {"prompts": ["p"], "responses": ["r"], "greedy": True}
    result, tensors = controller.ask("value", asked)
    print(json.dumps([tensors["values"].tolist(), result["parsed"]]), flush=True)
controller.close()
"""


def test_a_trainer_that_was_stopped_gets_its_answer(tmp_path: Path) -> None:
    critic = tmp_path / "slow.mjs"
    critic.write_text(SLOW_CRITIC)
    calls = tmp_path / "calls"
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(tmp_path), str(critic), str(calls)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert trainer.stdout is not None
    try:
        assert trainer.stdout.readline() == "asks\n"
        deadline = time.monotonic() + 30
        while not calls.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(trainer.pid, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(trainer.pid, signal.SIGCONT)
        for _ in range(2):
            assert json.loads(trainer.stdout.readline()) == [[0.25], ["ok"]]
        assert trainer.wait(30) == 0
    finally:
        trainer.kill()
    assert calls.read_text() == "xx"
