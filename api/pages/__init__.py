"""The browser page: static files without a build step and without external resources."""
