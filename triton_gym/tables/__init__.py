"""Tables of recorded times: what every configuration of a task's knobs took on a GPU.

`table.py` is one task's table, `files.py` where tables lie, `kernel_tuner.py` their exchange with
other tools, `split.py` which shapes an agent is trained and which it is tested on.
"""
