"""What the benchmarks of ingest stand on: a platform of their own, and gateways that send as fast as they may."""
