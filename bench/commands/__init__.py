"""One file per command, and what commands share: options, the life of a run, progress, exit statuses."""
