"""Python functions by name, and those that tasks, rewards and loggers of GenAC call."""
