"""The network: one media port, ICE-lite, DTLS and SRTP. The only package that imports aiortc and aioice."""
