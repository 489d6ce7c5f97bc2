"""The catalogue: a folder for each kernel task."""
