"""HTTP for both ports: the server, its limits, and which requests are answered."""
