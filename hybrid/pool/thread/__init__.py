"""The thread lane."""
