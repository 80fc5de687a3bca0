"""What a running daemon serves: API, signalling, WHIP, page and monitoring; its configuration and its start."""
