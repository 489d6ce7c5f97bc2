"""The process that runs one answer: where it comes from, what it may do, what it does.

From the judge's side it is a `session.Session`.
"""
