"""Rokuga records WebRTC: the installed name of the packages recorder, api, webhooks, devtools and cli."""
