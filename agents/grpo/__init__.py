"""Group-relative policy optimisation of a language model on kernel environments.

Start reading at `trainer.py`; `advantages.py` and `losses.py` are the mathematics and nothing else.
"""
