"""Pictures of results. Each function takes finished numbers and writes a file; none computes a result."""
