"""Reports as one HTML page each, which needs no network and no other file.

`html.py` makes the page and its plots; `run.py`, `score.py` and `train.py` fill it from what a run,
a score and a training left; the benchmark's is `triton_gym.benchmark.report`.
"""
