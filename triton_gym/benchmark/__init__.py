"""A benchmark of algorithms on tuning environments: runs, metrics with their sources, a report."""
