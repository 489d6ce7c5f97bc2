"""Executes plans on an NVIDIA GPU, in a long-lived process of ours, and judges what they do."""
