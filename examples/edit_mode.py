"""Change the current kernel by edits instead of sending all of it."""

from __future__ import annotations

import argparse

import gymnasium as gym

import triton_gym  # noqa: F401  (registers the environments)

SEARCH_REPLACE = """\
<<<<<<< SEARCH
    softmax_kernel[(rows,)](x, y, cols, BLOCK=512)
=======
    softmax_kernel[(rows,)](x, y, cols, BLOCK=4096, num_warps=8)
>>>>>>> REPLACE
"""
DIFF = """\
@@ -39,1 +39,1 @@
-    softmax_kernel[(rows,)](x, y, cols, BLOCK=4096, num_warps=8)
+    softmax_kernel[(rows,)](x, y, cols, BLOCK=2048, num_warps=8)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="the first edit only")
    args = parser.parse_args()

    env = gym.make("TritonKernel-softmax-v0", device=args.device, action_mode="edit")
    env.reset(seed=0)
    # The last one no longer applies: the environment says why, and keeps its kernel.
    for edit in [SEARCH_REPLACE] if args.smoke else [SEARCH_REPLACE, DIFF, SEARCH_REPLACE]:
        observation, reward, _, _, info = env.step(edit)
        print(f"{info['status']}: {info['runtime_us']:.1f} µs, reward {reward:.2f}")
        print(f"  {observation['feedback']}")
    env.close()


if __name__ == "__main__":
    main()
