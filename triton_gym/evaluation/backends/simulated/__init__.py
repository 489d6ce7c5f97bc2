"""Answers on a model of a GPU that is not here."""
