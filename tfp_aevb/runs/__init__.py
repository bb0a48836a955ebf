"""A run on disk: trained, resumed, drawn and told."""
