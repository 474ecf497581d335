"""Claims of papers: who plays which role, and what becomes of each claim."""
