"""Fuzzing of every parser: with atheris by `make fuzz`, bounded in the normal tests."""
