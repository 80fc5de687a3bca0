"""The HTTP API: a table with one row for each target."""
