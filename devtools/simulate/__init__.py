"""Real event sequences and files without any WebRTC, for those who write consumers of the webhooks."""
