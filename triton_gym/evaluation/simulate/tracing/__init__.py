"""What the launches of a call do at full size, seen from some of their programs."""
