"""Matrix product with a bias and an exact GELU fused into its epilogue."""
