"""The operator's means: control socket, settings, systemd, pid file, terminal."""
