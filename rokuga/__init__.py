"""Rokuga records WebRTC: the installed name of the three rooms recorder, api and webhooks."""
