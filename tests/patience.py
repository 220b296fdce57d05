"""How long a test waits for what comes within seconds where nothing else runs. Behind it stands the limit of pytest."""

PATIENCE_S = 240.0
