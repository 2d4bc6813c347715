"""The same small application in every framework, and its jobs."""
