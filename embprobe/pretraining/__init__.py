"""The controlled study: the same images, the same ViT, only the objective differs."""
