"""Tables of what `benchmarks.device` measured, and what follows from it for `tools.devices`."""

import math

from jax3dgan.errors import UserError
from jax3dgan.tools import devices

# Kind of the case (the part before '/') → its heading.
HEADINGS = {
  'torch': 'Against PyTorch',
  'step': "CelebA's step",
  'siren': 'SIREN',
  'eg3d': "EG3D's step",
  'eg3d_parts': 'Parts of EG3D alone',
  'eg3d_trace': 'Trace',
  'agree': 'CPU against the device',
  'repeat': 'The same steps twice',
  'loop': 'The training loop',
}


def number(value) -> str:
  """Three digits, or the text itself."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return str(value)
  if value == 0 or not math.isfinite(value):
    return f'{value:g}'
  return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'


def line(figures: dict) -> str:
  """The figures of a case on one line."""
  return ', '.join(f'{name} {number(value)}' for name, value in figures.items())


def table(lines: list[dict]) -> str:
  """Markdown: a row for each case, a column for each figure; of a single case, figure by figure."""
  names = list(dict.fromkeys(name for own in lines for name in own['figures']))
  if len(lines) == 1:
    rows = [f'| {name} | {number(value)} |' for name, value in lines[0]['figures'].items()]
    return '\n'.join([f'| {lines[0]["case"]} | |', '|---|---|', *rows])
  rows = [['case', *names]]
  for own in lines:
    rows.append([own['case'], *(number(own['figures'].get(name, '')) for name in names)])
  text = ['| ' + ' | '.join(row) + ' |' for row in rows]
  return '\n'.join([text[0], '|---' * len(rows[0]) + '|', *text[1:]])


def changes(lines: list[dict], run: dict) -> list[str]:
  """What to change in `jax3dgan/tools/devices.py`: the shares of the peak that steps reached."""
  if run['tiny']:
    return ['Nothing: sizes of a trial say nothing about the device.']
  found = {}
  for own in lines:
    if own['case'].startswith('step/') and 'MFU, %' in own['figures']:
      policy = own['case'].split('/')[1]
      found[policy] = max(found.get(policy, 0.0), own['figures']['MFU, %'] / 100)
  if not found:
    return ['Nothing: no step was measured whose peak is known.']
  try:
    name = devices.name_of(run['device'])
  except UserError as error:
    return [str(error)]
  result = [f"Measured on '{name}', of _ASSUMED of {run['platform']}s:"]
  for policy, share in found.items():
    planned, measured = devices.utilisation(devices.find(name), policy, 256)
    source = 'measured before' if measured else 'assumed'
    result.append(
      f'  {policy}: {share:.3g} measured, {planned:.3g} {source} ({share / planned - 1:+.0%})'
    )
  return result


def report(lines: list[dict]) -> str:
  """All tables of some lines, run by run."""
  text, runs = [], []
  for own in lines:
    if own['run'] not in runs:
      runs.append(own['run'])
  for run in runs:
    done = [own for own in lines if own['run'] == run and own['state'] == 'done']
    size = ', sizes of a trial' if run['tiny'] else ''
    text.append(
      f'## {run["num_devices"]} x {run["device"]}, jax {run["jax"]}, commit {run["commit"]}{size}\n'
    )
    for kind, heading in HEADINGS.items():
      own = [x for x in done if x['case'].split('/')[0] == kind]
      if own:
        text += [f'{heading} (`--cases={kind}`, {own[0]["time"]}):\n', table(own), '']
    text += ['jax3dgan/tools/devices.py:', *changes(done, run), '']
  return '\n'.join(text)
