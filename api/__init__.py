"""The fronts (API, signalling, command line) and the composition root."""
