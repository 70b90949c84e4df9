"""Base models and adapters on disk: checked, listed, moved, merged, exported."""
