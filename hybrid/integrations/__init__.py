"""Frameworks other than Falcon on ASGI: the same manners, through their own extension points."""
