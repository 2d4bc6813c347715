"""The messages of every link: primary and worker, worker and worker, operator and primary."""
