"""Where tests find `launching.py`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# The default changes with Triton 3.10; results must not.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
