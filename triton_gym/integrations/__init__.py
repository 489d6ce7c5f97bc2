"""Adapters: this library as the environment of the frameworks that people train with.

One module for each framework; none is imported before it is asked for, and none of the frameworks
is a dependency. What passes between is text and a number (`conversation`, `replies`).

- `trl`: TRL's `GRPOTrainer`: a reward function, an environment with tools, a data set
- `trl_rollout`: for the same trainer, episodes of several turns without tools
- `verifiers`: verifiers and prime-rl: a `Taskset`, and an environment of several turns
- `openenv`: OpenEnv: an `Environment` and its server
- `skyrl`: SkyRL: a `BaseTextEnv`
- `verl`: verl: an agent loop and a reward function
- `nemo_gym`: NeMo-Gym: a resource server
- `rllib`: Ray RLlib: `TritonTune` environments by name
- `tools`: coding agents: a server of tools (MCP), `triton-gym serve`
"""
