"""Shell, network: one UDP port, ICE-lite, DTLS, SRTP; the only room that imports aiortc and aioice."""
