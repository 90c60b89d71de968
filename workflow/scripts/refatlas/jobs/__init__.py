"""How a rule's script runs as a job."""
