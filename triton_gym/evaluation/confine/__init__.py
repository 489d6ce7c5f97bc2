"""What the kernel holds a worker to: one mechanism a file, put together by `workers.sandbox`.

`layers` names them and says which of them this machine has; `kernel` calls it. A worker that has
taken them on cannot take them off, nor can anything that it starts.
"""
