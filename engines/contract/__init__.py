"""What the engines and the scripts share: errors, events, the run protocol, whole files, checkpoints."""
