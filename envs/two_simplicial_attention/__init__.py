"""Attention over pairs of keys in two sliding windows."""
