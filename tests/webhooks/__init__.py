"""The webhooks: bodies, outbox, delivery."""
