"""The networks: StyleGAN2, the encoders' backbones and heads, and the feature networks."""
