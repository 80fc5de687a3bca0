"""Session descriptions: what we offer, and how answers and offers are read."""
