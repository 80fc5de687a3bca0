"""The data of the browser page: JSON, server-sent events and files; see README.md."""
