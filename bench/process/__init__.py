"""The parent's side of processes: the fork server, the workers, lost workers, and admission of cells."""
