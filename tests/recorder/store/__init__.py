"""The store: its file, its thread, its errors."""
