"""Tests of `api/config`."""
