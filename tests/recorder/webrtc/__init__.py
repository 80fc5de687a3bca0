"""Tests of the network, with aiortc as the other end where possible."""
