"""Training of any `nn.Module` that takes named tensors; `settings` alone is free of torch."""
