"""The store of a cluster: recordings in etcd, archives and events in the SQLite file of each node."""
