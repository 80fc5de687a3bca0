"""The HTTP server of both ports: acceptor, framing, limits, request policy."""
