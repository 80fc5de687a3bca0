"""Tests of the timing room, on synthetic RTP times and arrivals."""
