"""Tests of the payload formats and of the codec table."""
