"""The demonstration application: numpy kernels behind HTTP, written as a user of hybrid would."""
