"""WHIP (RFC 9725): publishing with an SDP offer and answer over HTTP."""
