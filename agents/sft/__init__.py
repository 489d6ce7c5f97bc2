"""Supervised fine-tuning on verified examples: between data and reinforcement learning."""
