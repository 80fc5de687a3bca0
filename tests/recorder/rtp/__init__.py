"""RTP and RTCP packets, order, loss, feedback."""
