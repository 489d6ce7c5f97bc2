#!/usr/bin/env bash
# One seed of what docs/grpo.md tells of, on one GPU: fine-tuning, reinforcement, examinations.
#
#     benchmarks/grpo.sh WORK SEED [MODEL [SECONDS [RUN [KEY=VALUE...]]]]
#
# After SECONDS training stops with its work saved. RUN names the third stage, and KEY=VALUE are its
# settings where they differ from configs/grpo.toml. What is done is not done again, so the same
# command goes on. $DEVICE examines, cuda:0 unless given, as $EXAMINE says.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$1 seed=$2 model=${3:-smollm2} seconds=${4:-0} run=${5:-grpo}
shared=(--work "$work" --data benchmarks/examples --model "$model" --seed "$seed"
    --device "${DEVICE:-cuda:0}")

python benchmarks/grpo.py train "${shared[@]}" --budget "$seconds" --run "$run" --grpo "${@:6}"

examine() {
    # shellcheck disable=SC2086  # options, several
    python benchmarks/grpo.py examine "${shared[@]}" \
        ${EXAMINE:---tasks 48 --greedy 48 --workers 8} --stage "$1" --only "${@:2}"
}
# Two at once: one samples while the other's replies are evaluated.
{ examine sft sample evaluate; examine sft edits --edits 16 --tries 4; } &
first=$!
examine "$run" edits --edits 16 --tries 4
examine "$run" sample evaluate
wait $first
