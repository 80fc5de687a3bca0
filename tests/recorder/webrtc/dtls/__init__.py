"""Tests of `recorder/webrtc/dtls`."""
