"""A text environment as small as a policy of two layers can learn, with the kernel ones' interface."""

from __future__ import annotations

import gymnasium as gym

KNOBS = "abcdefgh"


class Knobs(gym.Env):
    """Write the one letter of eight that makes the made-up kernel fast. Every reset is the same.

    With several turns, the best letter of turn 2 is the one after that of turn 1, and so on.
    """

    spec = None

    def __init__(self, turns=1, best="c", log=None):
        self.observation_space = gym.spaces.Dict({})
        self.action_space = gym.spaces.Text(1000)
        self.turns, self.best, self.log = turns, KNOBS.index(best), log
        self.turn = 0

    def _observe(self, feedback):
        return {"task": "pick", "kernel": "", "feedback": feedback}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.turn = 0
        if self.log is not None:
            self.log.append(seed)
        return self._observe("start"), {"task": "knobs"}

    def step(self, action):
        letter = action.strip()[:1]
        right = letter == KNOBS[(self.best + self.turn) % len(KNOBS)]
        self.turn += 1
        reward = 1.0 if right else 0.2 * (letter in KNOBS and letter != "")
        status = "correct" if right else "incorrect"
        info = {"status": status, "speedup": 2.0 if right else float("nan")}
        return self._observe(status), reward, False, self.turn >= self.turns, info
