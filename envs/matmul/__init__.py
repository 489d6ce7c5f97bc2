"""Matrix product of two row-major matrices in half precision."""
