"""Functions of the user's own: traced to tasks, searched for faster kernels, and swapped."""
