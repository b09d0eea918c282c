"""What the diffusion classifier must be compared with, each as strong as it is usually made.

Naive Bayes on the same tokens or on words, NB-SVM and TF-IDF with logistic regression on the full text, the same
pretrained encoder fine-tuned to discriminate, and causal language models: one per class, or one under a prompt for each
class. This room shares no code with the diffusion side, so that a mistake there cannot hide in its rival. Import from
the modules: only ``encoder``, ``finetuning`` and the ``causal`` ones load torch.
"""
