"""The configuration: keys, parsers, the file and environment variables."""
