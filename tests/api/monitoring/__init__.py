"""Tests of `api/monitoring`."""
