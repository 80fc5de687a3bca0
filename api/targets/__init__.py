"""The HTTP API: one row a target."""
