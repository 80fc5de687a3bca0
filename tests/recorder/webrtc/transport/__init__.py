"""Tests of `recorder/webrtc/transport`."""
