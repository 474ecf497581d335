"""embprobe: what do image embeddings notice? Category, embedded text, colour and style, with intervals.

    import embprobe as ep

    results = ep.probe("photos", "color", ["open_clip/ViT-B-16:openai", "timm/vit_base_patch16_224.dino"])
    print(results.headline())

Everything here is loaded when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
