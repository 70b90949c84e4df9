"""Runs: started, queued, supervised, followed, compared."""
