"""What the browser page is shown, as JSON, server-sent events and files; see README.md."""
