"""Samples, transcripts and voices on disk, and the jobs that make one of the other."""
