"""Tests of `devtools/simulate`."""
