"""The table of best known times that the package ships, from what suite_score.py measured.

python benchmarks/best_known.py h200 benchmarks/results/suites-h200.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from triton_gym.benchmark.suite_score import SHIPPED, compact


def main() -> None:
    gpu, *reports = sys.argv[1:]
    tables = json.loads(SHIPPED.read_text()) if SHIPPED.is_file() else {}
    found = [compact(json.loads(Path(report).read_text())) for report in reports]
    shares = {name: share for one in found for name, share in one["shares"].items()}
    told = "; ".join(dict.fromkeys(one["told"] for one in found))
    tables[gpu] = {"told": told, "shares": dict(sorted(shares.items()))}
    SHIPPED.write_text(json.dumps(tables, indent=1, sort_keys=True) + "\n")
    print(f"{gpu}: {len(tables[gpu]['shares'])} tasks")


if __name__ == "__main__":
    main()
