#!/usr/bin/env bash
# What docs/grpo.md tells of, on one GPU: for each seed fine-tuning, reinforcement, examinations.
#
#     benchmarks/grpo.sh WORK "SEED…" [MODEL [SECONDS [RUN [KEY=VALUE...]]]]
#
# After SECONDS a seed's reinforcement stops with its work saved. RUN names the third stage, and
# KEY=VALUE are its settings where they differ from configs/grpo.toml. Seeds are examined at the end,
# when no training disturbs what is timed. What is done is not done again, so the same command goes
# on. $DEVICE examines, cuda:0 unless given, as $EXAMINE says; $SFT are settings of fine-tuning.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$1 model=${3:-smollm2} seconds=${4:-0} run=${5:-grpo}
read -ra seeds <<< "$2"
shared=(--work "$work" --data benchmarks/examples --model "$model" --device "${DEVICE:-cuda:0}")

say() { echo "== $* after ${SECONDS} s"; }

examine() {
    # shellcheck disable=SC2086  # options, several
    python benchmarks/grpo.py examine "${shared[@]}" --seed "$1" --stage "$2" \
        ${EXAMINE:---tasks 48 --greedy 48 --workers 8} --only "${@:3}"
    say "examined seed $1, $2: ${*:3}"
}

for seed in "${seeds[@]}"; do
    # shellcheck disable=SC2086  # settings, several
    python benchmarks/grpo.py train "${shared[@]}" --seed "$seed" --until sft --sft ${SFT:-}
    say "fine-tuned seed $seed"
    python benchmarks/grpo.py train "${shared[@]}" --seed "$seed" --budget "$seconds" --run "$run" \
        --grpo "${@:6}"
    say "reinforced seed $seed"
done
for seed in "${seeds[@]}"; do
    # Two at once: one samples while the other's replies are evaluated.
    { examine "$seed" sft sample evaluate; examine "$seed" sft edits --edits 16 --tries 4; } &
    first=$!
    examine "$seed" "$run" edits --edits 16 --tries 4
    examine "$seed" "$run" sample evaluate
    wait $first
done
