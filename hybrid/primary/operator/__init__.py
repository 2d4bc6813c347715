"""What an operator uses: control socket, settings, systemd, pid file, terminal."""
