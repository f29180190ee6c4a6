"""Published weights: a catalogue of them, their folder on this machine, and fetching."""
