#!/usr/bin/env bash
# Our trainer and TRL's one after the other on one GPU: what docs/grpo.md compares.
#
#     benchmarks/grpo_speed.sh MODEL OUT [OPTION...]
#
# MODEL is a fine-tuned policy, so that replies have a trained one's length. OPTIONs go to each run of
# grpo_speed.py, after those that are set here; rows are appended to OUT as they are done.
set -euo pipefail
cd "$(dirname "$0")/.."
shared=(--model "$1" --out "$2" --device cuda:0 --longest 896 --workers 12 --warm 1 --steps 4)
small=(--parts 1 --micro-tokens 32768)  # our steps; TRL's batches are as large
run() { python benchmarks/grpo_speed.py "$@" "${shared[@]}" "${options[@]}"; }
options=("${@:3}")

run ours "${small[@]}"
run trl --sampler ours --accumulate 2
run ours "${small[@]}" --cache dynamic
run trl --accumulate 2
