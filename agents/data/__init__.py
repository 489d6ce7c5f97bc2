"""Verified examples for language models: written, planted with faults, evaluated, stored.

`build(DataConfig(out="runs/data"))` writes `train.parquet` and `test.parquet` in chat form.
"""

from __future__ import annotations

from .building import Progress, build
from .config import DataConfig
from .examples import prompt_and_reply
from .storage import read_rows

__all__ = ["DataConfig", "Progress", "build", "prompt_and_reply", "read_rows"]
