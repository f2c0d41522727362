"""Takes HTTP from outside Kafka: ticks and webhooks become requests to look."""
