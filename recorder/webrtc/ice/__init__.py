"""ICE-lite: connectivity checks and the transport paths that they validate."""
