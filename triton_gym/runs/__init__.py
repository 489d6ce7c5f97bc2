"""Run folders: what a run was asked to do, on what machine, and every step of it.

    config.json     agent, environment, steps, seed, options
    machine.json    versions and device it started on
    steps.jsonl     one line a step, step 0 being the kernel the run started from
    start.py        that kernel
    best.py         the best kernel so far
    curve.png       learning curve (extra `report`)
    summary.json    how it ended
    model.zip, …    what the agent saved, if anything

The modules: `records` (a config, a step), `folder` (files on disk), `recording` (an environment
that writes its steps down, and repeats those that are), `execution` (an agent run into a folder),
`report` (the curve).
"""
