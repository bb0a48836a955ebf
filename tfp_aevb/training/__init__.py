"""Training: the settings of a run, the compiled loop, checkpoints and what a run leaves behind."""
