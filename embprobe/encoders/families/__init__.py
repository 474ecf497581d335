"""Load the encoders of each family; a family is one module (:class:`embprobe.encoders.spec.Family`)."""
