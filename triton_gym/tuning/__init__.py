"""`TritonTune`: the knobs of a task's expert kernel, for ordinary reinforcement learning.

`env.py` is the environment, `vector.py` many at once; `episode.py` what was evaluated since a
reset; `world.py` what they ask for a time: a table of recorded times, or an evaluator; `layout.py`
the observation, `choosing.py` the actions, `rewards.py` the rewards.
"""

from triton_gym.tuning.env import TuneEnv
from triton_gym.tuning.vector import TableVectorEnv, TuneVectorEnv

__all__ = ["TableVectorEnv", "TuneEnv", "TuneVectorEnv"]
