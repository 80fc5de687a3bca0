"""The WebM container (RFC 9559), in the layout of Sora's own files."""
