"""Sum of every row of a matrix."""
