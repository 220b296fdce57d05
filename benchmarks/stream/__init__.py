"""The stream processor beside its peers: the same events, the same fold, the same Redis layout, in turns."""
