"""Everything on the topics into Elasticsearch: events, risk cards and dead letters, each document once."""
