"""Elsewhere: what other trainers call the settings and options of likewise.

People come with the commands of kohya's scripts, of diffusers' examples, of OneTrainer and ai-toolkit. A name of theirs is
not taken for one of ours, since defaults and units differ; but whoever types it is told ours.
"""

from __future__ import annotations

from collections.abc import Collection

_RATES = ("learning_rate",)
_TEXT_RATES = ("text_rate", "learning_rate")
_EPOCHS = ("epochs",)

SETTINGS: dict[str, tuple[str, ...]] = {
    # kohya's scripts
    "unet_lr": _RATES,
    "text_encoder_lr": _TEXT_RATES,
    "text_encoder_lr1": _TEXT_RATES,
    "learning_rate_te": _TEXT_RATES,
    "network_dim": ("rank",),
    "network_alpha": ("alpha",),
    "network_dropout": ("dropout",),
    "network_train_unet_only": ("text_rate",),
    "lr_scheduler_num_cycles": ("schedule",),
    "max_train_epochs": _EPOCHS,
    "optimizer_type": ("optimizer",),
    "min_snr_gamma": ("snr_gamma",),
    "prior_loss_weight": ("prior_weight",),
    "flip_aug": ("flip",),
    "save_precision": ("keep",),
    "save_every_n_steps": ("checkpoint_every",),
    "save_every_n_epochs": ("checkpoint_every",),
    "full_bf16": ("precision",),
    "full_fp16": ("precision",),
    "num_vectors_per_token": ("vectors",),
    "init_word": ("initialiser",),
    "conv_dim": ("targets", "rank"),
    "conv_alpha": ("targets", "alpha"),
    # diffusers' examples
    "max_train_steps": ("steps",),
    "num_train_steps": ("steps",),
    "num_train_epochs": _EPOCHS,
    "train_batch_size": ("batch_size",),
    "gradient_accumulation_steps": ("accumulate",),
    "gradient_accumulation": ("accumulate",),
    "gradient_checkpointing": ("checkpointing",),
    "lr": _RATES,
    "lr_scheduler": ("schedule",),
    "lr_warmup_steps": ("warmup",),
    "max_grad_norm": ("clip",),
    "adam_weight_decay": ("weight_decay",),
    "use_8bit_adam": ("optimizer",),
    "mixed_precision": ("precision",),
    "checkpointing_steps": ("checkpoint_every",),
    "save_steps": ("checkpoint_every",),
    "with_prior_preservation": ("prior",),
    "num_class_images": ("prior_count",),
    "num_class_pictures": ("prior_count",),
    "text_encoder_learning_rate": _TEXT_RATES,
    "learning_rate_unet": _RATES,
    "train_text_encoder": ("text_rate",),
    "random_flip": ("flip",),
    "use_ema": ("ema",),
    "lora_rank": ("rank",),
    "lora_alpha": ("alpha",),
    "lora_dropout": ("dropout",),
    "num_vectors": ("vectors",),
    "initializer_token": ("initialiser",),
    "initializer": ("initialiser",),
    "image_size": ("resolution",),
    "size": ("resolution",),
    # OneTrainer
    "learning_rate_scheduler": ("schedule",),
    "learning_rate_warmup_steps": ("warmup",),
    "unet_learning_rate": _RATES,
    "clip_grad_norm": ("clip",),
    "train_dtype": ("precision",),
    "output_dtype": ("keep",),
    "ema_decay": ("ema",),
    "token_count": ("vectors",),
    "initial_embedding_text": ("initialiser",),
    "offset_noise_weight": ("noise_offset",),
    "loss_weight_strength": ("snr_gamma",),
    "epoch": _EPOCHS,
    # ai-toolkit, the web UI, and others
    "linear": ("rank",),
    "linear_alpha": ("alpha",),
    "dim": ("rank",),
    "r": ("rank",),
    "batch": ("batch_size",),
    "iterations": ("steps",),
    "max_steps": ("steps",),
    "save_every": ("checkpoint_every",),
    "dtype": ("precision",),
    "layer_structure": ("structure",),
    "activation_func": ("activation",),
    "weight_init": ("init",),
    "aesthetic_steps": ("gradient_steps",),
    "aesthetic_lr": ("gradient_rate",),
    "aesthetic_weight": ("weight",),
}
"""A name of theirs, and ours in order of nearness: the first that a method has is the one to use there."""

OPTIONS: dict[str, str] = {
    "pretrained_model_name_or_path": "--base",
    "base_model_name": "--base",
    "model_name_or_path": "--base",
    "instance_data_dir": "PICTURES",
    "train_data_dir": "PICTURES",
    "dataset": "PICTURES",
    "data_dir": "PICTURES",
    "instance_prompt": "--token and --noun",
    "placeholder_token": "--token",
    "token_string": "--token",
    "trigger_word": "--token",
    "keep_tokens": "--token",
    "class_prompt": "--noun",
    "class_token": "--noun",
    "class_tokens": "--noun",
    "class_data_dir": "--class-pictures",
    "class_images": "--class-pictures",
    "reg_data_dir": "--class-pictures",
    "output_dir": "--out",
    "output_name": "--out",
    "config_file": "--recipe",
    "validation_prompt": "--preview",
    "sample_prompts": "--preview",
    "resume_from_checkpoint": "--resume",
    "network_module": "--method",
}
"""Likewise for what is an option here, or an argument."""


DRAWING: dict[str, str] = {
    "num_inference_steps": "--steps",
    "sampling_steps": "--steps",
    "ddim_steps": "--steps",
    "guidance_scale": "--guidance",
    "cfg": "--guidance",
    "cfg_scale": "--guidance",
    "scale": "--guidance",
    "negative_prompt": "--negative",
    "num_images": "--count",
    "num_images_per_prompt": "--count",
    "n_samples": "--count",
    "n_iter": "--count",
    "batch_size": "--count",
    "width": "--size",
    "height": "--size",
    "resolution": "--size",
    "lora": "--with",
    "lora_weights": "--with",
    "network_weights": "--with",
    "embeddings": "--with",
    "strength": "--with RUN:STRENGTH",
    "network_mul": "--with RUN:STRENGTH",
    "lora_scale": "--with RUN:STRENGTH",
    "prompt": "PROMPT",
    "ckpt": "--base",
    "model": "--base",
    "pretrained_model_name_or_path": "--base",
    "outdir": "--out",
    "output_dir": "--out",
}
"""Options of programs that draw, and those of `likewise sample`."""


def ours(name: str, known: Collection[str] | None = None) -> str | None:
    """What `name`, from another program, is called here, ready to be put into a sentence; None where nobody knows.

    `known` are the settings that a method has; where none of them is meant, or none is named, the usual one is said.
    """
    key = name.lstrip("-").replace("-", "_").casefold()
    if key in OPTIONS:
        return OPTIONS[key]
    names = SETTINGS.get(key)
    if names is None:
        return None
    if known is None:
        return f"{names[0]}="
    chosen = next((setting for setting in names if setting in known), None)
    return f"{chosen}=" if chosen else None
