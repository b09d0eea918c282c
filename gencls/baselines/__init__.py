"""What the diffusion classifier must be compared with, each as strong as it is usually made.

Naive Bayes on the same tokens, TF-IDF with logistic regression on the full text, and the same
pretrained encoder fine-tuned to discriminate. This room shares no code with the diffusion side,
so that a mistake there cannot hide in its rival. Import from the modules: only ``encoder`` loads torch.
"""
