"""What the stages share: contracts, adapters to outside systems, and the runtime of a stage."""
