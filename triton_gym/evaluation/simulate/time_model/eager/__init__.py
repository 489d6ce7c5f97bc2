"""What PyTorch takes for a reference on a GPU that is not here, kernel by kernel."""
