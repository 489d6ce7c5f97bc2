"""Layer normalisation of the rows of a matrix, with weight and bias."""
