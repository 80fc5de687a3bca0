"""Tests of `recorder/store/cluster`."""
