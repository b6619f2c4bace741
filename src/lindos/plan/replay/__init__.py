"""Published runs replayed: reading them, what they leave open, the fit and how right it is."""
