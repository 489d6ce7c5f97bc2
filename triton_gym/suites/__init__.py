"""Suites of problems from elsewhere, read from the user's own copy of them."""
