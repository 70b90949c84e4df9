"""The language-model scripts: one program per job. torch lives here."""
