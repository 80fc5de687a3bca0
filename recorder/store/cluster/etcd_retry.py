"""How operations of etcd are retried."""

from typing import Final

from rokuga.recorder.retry import RetryPolicy
from rokuga.recorder.store import MinorityError, StoreError

ETCD_RETRY: Final = RetryPolicy((StoreError,), first_pause_s=0.3, unlogged=(MinorityError,), resource="etcd")
"""A lost majority is reported once, by node_presence.py."""
