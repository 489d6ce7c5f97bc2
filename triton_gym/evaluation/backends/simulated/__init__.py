"""The GPU that is not here: plans interpreted on the host, their time modelled."""
