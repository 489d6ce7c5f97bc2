"""Outcomes that are kept: a store, what an answer is known by, other formats."""
