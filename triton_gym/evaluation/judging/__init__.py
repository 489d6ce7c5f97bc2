"""The judges of a GPU and of a simulated one, in processes that no answer runs in."""
