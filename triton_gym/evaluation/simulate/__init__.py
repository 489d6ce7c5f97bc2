"""The simulated device: kernels interpreted, their machine code read, their time modelled.

Nothing here is measured, and nothing of an answer runs here but its kernels, as the IR that is
compiled: `interpreter` runs it, `tracing` sees what a launch does at full size from some of its
programs, `machine_code` takes compiled kernels apart, and `time_model` turns both into a time.
"""
