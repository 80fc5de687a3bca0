"""Tests of `devtools/soak`."""
