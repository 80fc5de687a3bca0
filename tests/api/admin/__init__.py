"""The browser page's API."""
