"""The encoder of the autoencoder, written down instead of learned.

A stack of strided convolutions can hold a principal-component transform of 8 x 8 patches: residual
branches are silenced, each level keeps the strongest components of its 2 x 2 blocks, and large
constants beside them turn the last normalisation into a fixed scale. The latents are therefore known
before any training and keep the colours that normalisation would wash out; only the decoder has to learn.
Strong components keep part of their strength (see ``finish``), so that noise hides the fine ones first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

HOLD = 10.0  # constant beside the signal, against which the last normalisation scales
LIFT = 5.0  # offset that keeps the last activation in its straight part
SPREAD = 0.05  # standard deviation that the posterior claims


def components(rows: torch.Tensor, count: int) -> torch.Tensor:
    """The strongest ``count`` principal directions of centred rows: (count, width)."""
    rows = (rows - rows.mean(0)).double()
    values, vectors = torch.linalg.eigh(rows.T @ rows)
    return vectors[:, values.argsort(descending=True)[:count]].T.float()


def silence(block: nn.Module) -> None:
    """Reduce a residual block to its shortcut, and the shortcut to a copy."""
    block.conv2.weight.zero_()
    block.conv2.bias.zero_()
    if block.conv_shortcut is not None:
        block.conv_shortcut.weight.zero_()
        block.conv_shortcut.bias.zero_()
        for i in range(block.conv_shortcut.in_channels):
            block.conv_shortcut.weight[i, i] = 1


def fill_down(conv: nn.Conv2d, x: torch.Tensor, used: int) -> tuple[torch.Tensor, int]:
    """Make a strided convolution keep the principal components of its 2 x 2 blocks."""
    keep = min(4 * used, conv.out_channels)
    rows = F.unfold(x[:, :used], 2, stride=2).transpose(1, 2).flatten(0, 1)
    basis = components(rows, keep) if keep < 4 * used else torch.eye(keep)
    conv.weight.zero_()
    conv.bias.zero_()
    conv.weight[:keep, :used, :2, :2] = basis.view(keep, used, 2, 2)
    return conv(F.pad(x, (0, 1, 0, 1))), keep


@torch.no_grad()
def write_encoder(vae: AutoencoderKL, pixels: torch.Tensor) -> None:
    """Set every weight of ``vae.encoder`` and ``vae.quant_conv`` from sample pictures in [-1, 1]."""
    encoder, used = vae.encoder, 3
    encoder.conv_in.weight.zero_()
    encoder.conv_in.bias.zero_()
    for c in range(3):
        encoder.conv_in.weight[c, c, 1, 1] = 1
    x = encoder.conv_in(pixels)
    for block in encoder.down_blocks:
        silence(block.resnets[0])
        x = block.resnets[0](x, None)
        if block.downsamplers is not None:
            x, used = fill_down(block.downsamplers[0].conv, x, used)
    shrink = 0.3 / x[:, :used].std()
    encoder.down_blocks[2].downsamplers[0].conv.weight.mul_(shrink)
    for block in encoder.mid_block.resnets:
        silence(block)
    bias = encoder.mid_block.resnets[-1].conv2.bias
    bias[used::2], bias[used + 1 :: 2] = HOLD, -HOLD
    norm = encoder.conv_norm_out
    norm.bias.fill_(LIFT)
    norm.weight.fill_(HOLD * ((norm.num_channels - used) / norm.num_channels) ** 0.5)
    finish(vae, pixels, used)


def finish(vae: AutoencoderKL, pixels: torch.Tensor, used: int) -> None:
    """Last convolution: the strongest components of what arrives, half whitened, with unit variance overall.

    Left as they are the first component would be fifteen times as strong as the last, whitened they would
    all weigh the same, though what is where is told by few; the square root lies between.
    """
    encoder, latents = vae.encoder, vae.config.latent_channels
    arrived: list[torch.Tensor] = []
    hook = encoder.conv_out.register_forward_pre_hook(lambda _, inputs: arrived.append(inputs[0]))
    encoder(pixels)
    hook.remove()
    rows = arrived[0][:, :used].permute(0, 2, 3, 1).flatten(0, 2)
    basis = components(rows, latents)
    codes = (rows - rows.mean(0)) @ basis.T
    spread = codes.std(0)
    basis = basis / (spread * spread.mean()).sqrt()[:, None]
    encoder.conv_out.weight.zero_()
    encoder.conv_out.bias.zero_()
    encoder.conv_out.weight[:latents, :used, 1, 1] = basis
    encoder.conv_out.bias[:latents] = -basis @ rows.mean(0)
    encoder.conv_out.bias[latents:] = 2 * torch.tensor(SPREAD).log()
    vae.quant_conv.weight.zero_()
    vae.quant_conv.bias.zero_()
    for i in range(2 * latents):
        vae.quant_conv.weight[i, i] = 1
