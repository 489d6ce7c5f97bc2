#!/usr/bin/env bash
# One seed of what docs/grpo.md tells of, on one GPU: fine-tuning, reinforcement, examinations.
#
#     benchmarks/grpo.sh WORK SEED [MODEL [SECONDS [STEPS]]]
#
# SECONDS is for reinforcement, after which it stops with its work saved. What is done is not done
# again, so the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$1 seed=$2 model=${3:-smollm2} seconds=${4:-0} steps=${5:-35}
data=benchmarks/examples
shared=(--work "$work" --data "$data" --model "$model" --seed "$seed" --device cuda:0)
examined=("${shared[@]}" --tasks 48 --greedy 48 --workers 12)

python benchmarks/grpo.py train "${shared[@]}" --until sft
python benchmarks/grpo.py train "${shared[@]}" --budget "$seconds" --grpo run.steps="$steps"
for stage in sft grpo; do
    python benchmarks/grpo.py examine "${examined[@]}" --stage $stage --only sample evaluate
    python benchmarks/grpo.py examine "${examined[@]}" --stage $stage --only edits --edits 16 --tries 4
done
