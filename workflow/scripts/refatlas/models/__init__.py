"""Model types, training, query mapping by architecture surgery, and files of models."""
