"""ICE, DTLS, SRTP and SDP, against foreign peers where it can be."""
