"""The WebM container: written, finished, repaired and read back."""
