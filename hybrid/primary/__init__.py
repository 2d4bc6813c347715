"""The primary: forks the workers and supervises them; serves no request.

One thread, one plain selectors loop. It never imports the application, never
runs asyncio, and never waits for one worker while others need it.
"""
