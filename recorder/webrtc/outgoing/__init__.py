"""The publisher's end of a connection."""
