"""Sora's signalling: pure messages and conversation, and a thin WebSocket endpoint."""
