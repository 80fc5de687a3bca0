"""Tests of `recorder/archive/webm`."""
