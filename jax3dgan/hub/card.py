"""The card of a trained model: what it is, how good, its cameras, licences and limits."""

import math

import jax3dgan
from jax3dgan import json_text
from jax3dgan.export import CAMERA_CONVENTION
from jax3dgan.runs import packaged

FILE = 'README.md'
PICTURE = 'samples.png'
_NOT_STATED = 'not stated: ask whoever published the model before you use it'


def write(
  model,
  *,
  notes: str,
  license_id: str | None,
  data: str,
  data_license: str,
  face_model_license: str,
  limits: str,
  metrics,
  picture: bool,
) -> str:
  """The card as Markdown, with the hub's header; see `jax3dgan.hub.save_pretrained`."""
  sections = [
    _header(model, license_id),
    f'# {model.name}',
    _what(model),
    _picture(model) if picture else '',
    '## Use',
    _use(model),
    '## Cameras',
    _cameras(model),
    '## Metrics',
    _metrics(metrics),
    '## Training',
    _training(model, notes),
    '## Limits',
    _limits(model, limits),
    '## Licences',
    _licences(model, license_id, data, data_license, face_model_license),
  ]
  return '\n\n'.join(section for section in sections if section) + '\n'


def _header(model, license_id) -> str:
  tags = ['3d-aware-gan', 'jax', 'flax', model.config.model.name]
  lines = ['---', 'library_name: jax3dgan', 'pipeline_tag: unconditional-image-generation']
  if license_id:
    lines.append(f'license: {json_text.dumps(license_id, None)}')
  lines += ['tags:', *(f'- {json_text.dumps(tag, None)}' for tag in tags), '---']
  return '\n'.join(lines)


def _what(model) -> str:
  count = sum(array.size for array in packaged.flat(model).values())
  steps = f'{model.step:,} steps'
  return (
    f'A generator of the kind `{model.config.model.name}` after {steps} of training, '
    f'{model.resolution}² pixels, {count:,} parameters: the moving average with rate '
    f'{model.config.ema.display_rate:g} alone. Made with jax3dgan {jax3dgan.__version__}.'
  )


def _picture(model) -> str:
  psi = model.config.display.truncation_psi
  return f'![Samples of {model.name}]({PICTURE})\n\n*Seeds 0 to 3, truncation {psi:g}.*'


def _use(model) -> str:
  camera = 'model.orbit(azimuth=[0.0] * 4)' if model.has_camera else 'model.front'
  return f"""```python
from jax3dgan import trained  # pip install 'jax3dgan[hub]'

model = trained.from_pretrained('USER/{model.name}')  # or a folder with these files
w = model.map(model.latents([0, 1, 2, 3]))
image = model.render(w, {camera}).image  # [4, h, w, 3] in [-1, 1]
```

```sh
jax3dgan samples --pretrained=USER/{model.name} --out=samples.png
```"""


def _cameras(model) -> str:
  if not model.has_camera:
    return 'It draws images without a camera.'
  render, prior = model.config.render, model.config.pose_prior
  lines = [
    f'A camera is {CAMERA_CONVENTION}',
    f'In training they stood {render.radius:g} from the point they look at, with a field of view '
    f'of {render.fov_degrees:g}°; prior `{prior.name}`, azimuths up to '
    f'{math.degrees(model.yaw_half_range):.0f}° to each side of the front.',
  ]
  if model.is_conditioned:
    lines.append('The mapping network is told a camera: by default that in front.')
  return '\n\n'.join(lines)


def _metrics(metrics) -> str:
  if not metrics:
    return 'None are given.'
  lines = ['| metric | value |', '|---|---|']
  for name, value in metrics.get('metrics', {}).items():
    shown = 'not measurable' if value is None else f'{value:.5g}'
    lines.append(f'| `{name}` | {shown} |')
  lines.append('')
  lines += [f'- {name}: {protocol}.' for name, protocol in metrics.get('protocols', {}).items()]
  source = (metrics.get('data') or {}).get('source', '')
  if '/' in source:
    source = source.rpartition('/')[2]  # the machine's folders say nothing
  version, commit = metrics.get('version', ''), metrics.get('commit', '')[:12]
  against = f', against `{source}`' if source else ''
  lines.append(f'\nMeasured by jax3dgan {version} {commit} (seed {metrics.get("seed")}){against}.')
  return '\n'.join(lines)


def _training(model, notes) -> str:
  config = model.config
  facts = f'Recipe `{config.recipe}`, batches of {config.batch_size}; `config.json` has the rest.'
  return f'{notes}\n\n{facts}' if notes else facts


def _limits(model, limits) -> str:
  lines = [limits] if limits else []
  if model.has_camera and model.yaw_half_range < math.pi - 1e-3:
    degrees = math.degrees(model.yaw_half_range)
    lines.append(f'Views beyond {degrees:.0f}° of azimuth were not trained, and are guesses.')
  if not model.has_field:
    lines.append('There is no 3D field: no mesh, and views agree as far as training made them.')
  lines.append(
    'Pictures of a generator are of nothing that exists; they repeat the imbalances of its data.'
  )
  return '\n'.join(f'- {line}' for line in lines)


def _licences(model, license_id, data, data_license, face_model_license) -> str:
  lines = [
    f'- Weights: {license_id or _NOT_STATED}.',
    f'- Data: {data or "not stated"}; its terms: {data_license or _NOT_STATED}.',
    '- Code, jax3dgan: Apache-2.0.',
  ]
  if names := model.generator.user_buffers:
    named = ', '.join(f'`buffers/{name}`' for name in names)
    lines.insert(
      1, f'- Face model, whose arrays are in the file too ({named}): {face_model_license}.'
    )
  return '\n'.join(lines)
