"""What is read in a source before anything of it runs."""
