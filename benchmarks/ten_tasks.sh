#!/usr/bin/env bash
# Ten Meta-World tasks from 20 scripted demonstrations, CQN-AS and CQN, one seed each, one thread.
# Usage: benchmarks/ten_tasks.sh [runs directory]; then: python benchmarks/record.py metaworld_ten_tasks_state <dir>/*
set -eu
runs=${1:-runs/ten_tasks}
tasks="reach drawer-close drawer-open button-press door-open window-open pick-place hammer assembly peg-insert-side"
for task in $tasks; do
  for preset in cqn_as-metaworld cqn-metaworld; do
    python -m zoomrl train --preset "$preset" --env "metaworld:$task" --seed 1 --threads 1 \
      --eval.every 2500 --eval.no-video --log.no-tensorboard --run-dir "$runs/$preset-$task-s1" < /dev/null
  done
done
