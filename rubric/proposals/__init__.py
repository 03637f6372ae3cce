"""What might be changed for one rejection, a file a step. Each file offers candidates with their signals; nobody decides here."""
