"""The workflow on a real SLURM of one node."""

import subprocess


def test_a_job_without_a_partition_is_refused(cluster):
    run = subprocess.run(["sbatch", "--wrap", "true"], capture_output=True, text=True, check=False)
    assert "No partition specified" in run.stderr
