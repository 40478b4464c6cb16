"""Supervised fine-tuning with TRL: the only package that knows TRL, PEFT and transformers' trainer."""
