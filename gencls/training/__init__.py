"""Training: options, example order, one stage on the Hugging Face Trainer, all classes with equal budgets."""
