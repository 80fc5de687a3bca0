"""Tests of signalling."""
