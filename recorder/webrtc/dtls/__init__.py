"""DTLS and SRTP of one peer."""
