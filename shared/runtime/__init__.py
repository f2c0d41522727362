"""What makes a handler a reliable stage: decode, validate, advance, publish, acknowledge."""
