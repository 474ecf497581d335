"""Encoders inside a vision-language model: the recipe, questions with known answers, and how they are scored."""
