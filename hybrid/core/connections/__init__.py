"""Decisions about connections: which worker gets one."""
