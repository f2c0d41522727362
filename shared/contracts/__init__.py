"""Topics, events, states, documents and quantities: the words in which the stages talk to each other."""
