"""WebRTC in, files out: the recorder knows neither the API nor the webhooks."""
