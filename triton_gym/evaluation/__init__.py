"""Evaluation: screen, compile, test and profile an answer in processes of its own."""
