"""The recorder, room by room."""
