"""Where plans are executed: a folder for each kind of device."""
