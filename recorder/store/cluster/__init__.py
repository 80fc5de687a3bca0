"""The store of a cluster: recordings in etcd, archives and events in this node's own file."""
