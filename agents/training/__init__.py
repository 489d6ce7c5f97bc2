"""What supervised fine-tuning and reinforcement learning share.

`settings` (typed configs from TOML and the command line), `optimizer`, `checkpoints`, `journal`
(metrics), `world` (several GPUs).
"""
