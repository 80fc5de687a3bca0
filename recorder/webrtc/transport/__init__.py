"""Sockets: the media port over UDP and TCP, and which bytes are whose."""
