"""Launch plans: what an answer's host code came to, as plain data, and how it travels."""
