"""What each strategy earns beside the honest role: as a closed form, and played many times."""
