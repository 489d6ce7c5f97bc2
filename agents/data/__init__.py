"""Verified examples for language models: written, planted with faults, evaluated, stored."""
