"""Tests of `devtools/publisher`."""
