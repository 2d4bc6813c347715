"""hybrid's own Falcon pieces: media, errors, health, status. Knows no process."""
