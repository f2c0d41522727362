"""Documents that follow from the code: schemas, AsyncAPI, states, metrics, the table of settings."""
