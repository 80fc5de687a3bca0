"""Sockets: the media port over UDP and TCP, and the dispatch of its datagrams."""
