"""How a rule's script runs as a job: log, record, GPUs, and errors in plain words."""
