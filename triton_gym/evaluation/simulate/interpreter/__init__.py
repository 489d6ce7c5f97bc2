"""Triton's interpreter made exact and safe, and what it sees of an answer's launches."""
