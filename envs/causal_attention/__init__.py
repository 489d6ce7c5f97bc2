"""Causal multi-head attention."""
