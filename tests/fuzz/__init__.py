"""Bytes from nowhere into every parser: long by `make fuzz`, short in the normal tests."""
