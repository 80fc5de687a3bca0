"""ICE-lite: connectivity checks and what they prove."""
