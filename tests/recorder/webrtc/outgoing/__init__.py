"""Tests of `recorder/webrtc/outgoing`."""
