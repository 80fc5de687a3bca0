"""Benchmarks of the daemon: see README.md."""
