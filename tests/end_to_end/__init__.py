"""Real peers, a real daemon in its own process, real files."""
