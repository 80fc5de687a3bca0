"""Tests of `recorder/webrtc/ice`."""
