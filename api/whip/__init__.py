"""WHIP (RFC 9725), the second front for publishers: an offer in by HTTP, an answer out."""
