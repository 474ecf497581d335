"""Search: nearest neighbours and maps of embeddings."""
