"""A training by the Trainer of Transformers, recorded by a callback."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from gradcli.transformers import GradientCallback

torch.manual_seed(0)
words = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 0}
model = GPT2LMHeadModel(GPT2Config(n_positions=16, n_embd=32, n_layer=2, n_head=2, **words))
rows = [(torch.arange(16) * (one % 7 + 1) + one) % 50 for one in range(480)]
data = [{"input_ids": row, "labels": row} for row in rows]
arguments = TrainingArguments(
    "out",
    num_train_epochs=3,
    per_device_train_batch_size=8,
    gradient_accumulation_steps=2,
    max_grad_norm=1.0,
    learning_rate=1e-3,
    eval_strategy="epoch",
    report_to="none",
)
trainer = Trainer(
    model,
    arguments,
    train_dataset=data[:400],
    eval_dataset=data[400:],
    callbacks=[GradientCallback()],
)
trainer.train()
