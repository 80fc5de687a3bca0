"""WebRTC in, files out. Imports neither the API nor the webhooks."""
