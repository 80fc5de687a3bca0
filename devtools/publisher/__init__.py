"""The other end: publishes a WebM clip over real WebRTC, as tests, demo and soak runs need it."""
