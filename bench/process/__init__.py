"""The parent's side of processes: the fork server, the workers, why one was lost, what may start."""
