"""Tests of `recorder/webrtc/sdp`."""
