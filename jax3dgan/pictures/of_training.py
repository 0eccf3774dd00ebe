"""The pictures that a training makes for people: a sheet along the way, samples and a turntable at
its end."""

import pathlib

import jax

from jax3dgan import viz
from jax3dgan.pictures import display, sheets, turntables

_GRID_SEEDS = range(16)
_TURNTABLE_SEEDS = (0, 1, 2, 3)


def show(model, workdir, writer, monitor=None) -> None:
  """Writes a sheet of fixed seeds from one view and from five, with depth: to TensorBoard and to
  samples/; on process 0.

  Args:
    model: `trained.Trained` of the step.
    monitor: `health.Health`, which gets renderings of fixed latents.
  """
  if jax.process_index() != 0:
    return
  step, several = model.step, bool(model.generator.z_dim)  # a single scene has no other seeds
  if monitor is not None and several:
    w = model.map(model.latents(_GRID_SEEDS), psi=1)
    out = model.render(w, model.orbit(display.show_azimuth(model)))
    writer.write_scalars(step, monitor.samples(step, out, model.options()))
  config = model.config
  seeds = range(config.log.num_grid if several else 1)
  sheet = sheets.sheet(model, seeds, config.display.truncation_psi, depth=model.has_depth)
  writer.write_images(step, {'samples': sheet[None]})
  folder = pathlib.Path(workdir) / 'samples'
  folder.mkdir(exist_ok=True)
  viz.save_png(folder / f'{step:08d}.png', sheet)


def finish(model, workdir, writer, say) -> list[str]:
  """Writes samples.png and, of a 3D generator, turntable.mp4; returns their names."""
  names = ['samples.png', *(['turntable.mp4'] if model.has_camera else [])]
  missing = '' if model.has_camera else ' (no turntable: a 2D generator has no camera)'
  say(f'Rendering {" and ".join(names)}{missing} ...')
  show(model, workdir, writer)
  if jax.process_index() == 0:
    workdir, several = pathlib.Path(workdir), bool(model.generator.z_dim)
    seeds = _GRID_SEEDS if several else range(1)
    sheets.write(model, workdir / 'samples.png', seeds, depth=model.has_depth)
    if model.has_camera:
      seeds = _TURNTABLE_SEEDS if several else (0,)
      turntables.write(model, workdir / 'turntable.mp4', seeds, depth=model.has_depth)
  return names
