"""A page for people: HTML made here, a little script that looks whether something changed, nothing from elsewhere."""
