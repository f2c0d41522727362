"""`kubefinops`: thin verbs over the rooms beside it."""
