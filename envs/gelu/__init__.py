"""The exact (erf) Gaussian error linear unit, elementwise."""
