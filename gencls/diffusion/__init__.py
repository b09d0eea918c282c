"""What a masked-diffusion language model is.

Forward process (`masking`, `schedule`), network (`backbones`, `denoiser`, `conditioning`), training loss
(`objective`, `collator`), class unigram statistics (`unigram`) and independent oracles (`exact`).

Axis legend: N texts, C classes, K draws, B batch rows, L tokens, V vocabulary. Log-probabilities are natural
logarithms (nats).
"""
