"""The voice scripts: one program per job. Nothing is here yet."""
