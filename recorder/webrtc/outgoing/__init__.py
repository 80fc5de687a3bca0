"""A publisher's end of a connection."""
