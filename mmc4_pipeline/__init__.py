"""What happens to one document, page or image. No Beam in here: `beam_jobs` wires these pieces together."""
