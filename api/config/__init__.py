"""Configuration: one flat file, environment variables, and their check."""
