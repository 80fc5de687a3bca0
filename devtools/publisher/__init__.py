"""A client that publishes a WebM clip over real WebRTC, for the command, the demo, tests and soaks."""
