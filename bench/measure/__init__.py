"""One round of one cell, in a worker process. The only room of this package that imports torch."""
