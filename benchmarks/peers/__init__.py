"""The same load on other servers."""
