"""The plain form of splatting in PyTorch: every pixel with every Gaussian. `pip install torch`.

  taskset -c 1 python -m benchmarks.torch_splatting --processor_time

What it takes does not depend on where the ellipses are; their projection is not counted. Rows of
pixels follow one another, so that memory is that of one row.
"""

import argparse
import time

import torch

N, SIDE, ROWS = 4096, 64, 8


def draw(means, conics, opacities, features):
  """Σ w·feature [side, side, f] of ellipses [n] in the order of depth."""
  ticks = torch.arange(SIDE) + 0.5
  images = []
  for y in ticks.split(ROWS):
    dx = means[:, 0, None, None] - ticks
    dy = means[:, 1, None, None] - y[:, None]
    a, b, c = conics[:, :, None, None].unbind(1)
    alpha = opacities[:, None, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    alpha = torch.where(alpha < 1 / 255, 0, alpha.clamp(max=0.99))
    after = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    images.append(torch.einsum('nyx,nf->yxf', alpha * before, features))
  return torch.cat(images)


def main():
  """Prints a row of the table of `benchmarks.splatting`."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--processor_time', action='store_true', help="the processor's, one thread")
  args = flags.parse_args()
  now = time.process_time if args.processor_time else time.perf_counter
  if args.processor_time:
    torch.set_num_threads(1)
  torch.manual_seed(0)
  means, conics = torch.rand(N, 2) * SIDE, torch.tensor([[0.3, 0.05, 0.3]]).repeat(N, 1)
  arrays = [means, conics, torch.rand(N), torch.rand(N, 4)]
  times = {}
  for gradient in (False, True):
    for _ in range(3):
      leaves = [a.clone().requires_grad_(gradient) for a in arrays]
      start = now()
      image = draw(*leaves)
      if gradient:
        image.square().sum().backward()
      times.setdefault(gradient, []).append(now() - start)
  forward, both = (1e3 * min(times[gradient]) for gradient in (False, True))
  print(f'torch {torch.__version__}, {torch.get_num_threads()} threads')
  print(f'| {SIDE}², {N:,} Gaussians, 1 image | dense, PyTorch | {forward:.0f} | {both:.0f} |')


if __name__ == '__main__':
  main()
