"""A plan as a table; see `plan.plan`."""


def duration(seconds: float) -> str:
  """'41 ms', '2.3 s', '7.5 min', '3.2 h', '5.1 days'."""
  if seconds < 1:
    return f'{1000 * seconds:.3g} ms'
  for size, unit, following in ((1, 's', 100), (60, 'min', 5400), (3600, 'h', 172_800)):
    if seconds < following:
      return f'{seconds / size:.3g} {unit}'
  return f'{seconds / 86_400:.3g} days'


def size(num_bytes: float) -> str:
  """'1.2 GiB', '53 MiB', '18.6 KiB'."""
  for power, unit in ((3, 'GiB'), (2, 'MiB'), (1, 'KiB')):
    if num_bytes >= 1024**power:
      return f'{num_bytes / 1024**power:.3g} {unit}'
  return f'{num_bytes:.0f} B'


def _rows(stage: dict, result: dict) -> list[tuple[str, str]]:
  counts = stage['flops_per_image']
  parts = stage['micro_batches']
  rows = [
    ('steps', f'{stage["from_step"]:,} to {stage["to_step"]:,}'),
    ('images', f'{stage["resolution"]}²'),
    ('batch', f'{stage["batch"]}'),
    (
      'batch a device',
      f'{stage["batch_per_device"]} in {parts}' if parts > 1 else str(stage['batch_per_device']),
    ),
    ('GFLOP an image, model (products)', f'{counts["model"] / 1e9:,.4g}'),
    ('  as configured, loops by length', f'{counts["configured"] / 1e9:,.4g}'),
    ('  model, by XLA (lowered, all operations)', f'{counts["xla"] / 1e9:,.4g}'),
  ]
  if 'memory' in stage:
    memory = stage['memory']
    fit = memory['fit']
    rows += [
      (
        '  as configured, in the compiled program',
        f'{counts["compiled"] / 1e9:,.4g}' if counts['compiled'] else '-',
      ),
      ('peak memory a device', size(memory['peak_bytes'])),
      ('  of it temporaries', size(memory['temporary_bytes'])),
      ('fits', 'yes' if memory['fits'] else 'NO'),
      ('largest batch a device', _largest(memory, parts)),
      (
        "  the line's error at the third point",
        '-' if fit['deviation'] is None else f'{100 * fit["deviation"]:+.3g} %',
      ),
      (f'compilation, on this {result["compiled_for"]}', duration(memory['compilation_seconds'])),
    ]
  rows += [
    (f'a step, {result["mfu_source"]} MFU', duration(stage['seconds_per_step'])),
    ('images/s', f'{stage["images_per_second"]:,.3g}'),
  ]
  if 'all_reduce_seconds' in stage:
    rows += [('all-reduce of the gradients, on paper', duration(stage['all_reduce_seconds']))]
  return [*rows, ('the stage', duration(stage['seconds']))]


def _largest(memory: dict, parts: int) -> str:
  largest = memory['largest_micro_batch']
  if not largest:
    return 'none'
  bound = '' if memory['fit']['exact'] else ' or more'
  return f'{memory["largest_batch"]}{f" in {parts}" if parts > 1 else ""}{bound}'


def _notes(result: dict) -> list[str]:
  notes = [
    f'MFU {100 * result["mfu"]:.3g} % of {result["peak_tflops"]:.4g} TFLOP/s '
    f'({result["policy"]}, {result["device_source"]}): {result["mfu_source"]}.'
  ]
  if result['mfu_source'] == 'assumed':
    notes += ['No step has been timed on such a device yet; --mfu=… takes a measured share.']
  if result['not_counted']:
    notes += [f'Not counted, and so on top of the times: {result["not_counted"]}.']
  compiled = any('memory' in stage for stage in result['stages'])
  if not compiled:
    notes += ['Memory and the largest batch need a compilation: leave out --fast.']
  elif result['forms_of'] != result['compiled_for']:
    notes += [
      f"Memory: the forms for a {result['forms_of']}, compiled for this machine's "
      f"{result['compiled_for']}. A {result['forms_of']}'s own fusions give other temporaries."
    ]
    if result['policy'] in ('bfloat16', 'float16') and result['compiled_for'] == 'cpu':
      notes += [
        f'A CPU may widen {result["policy"]} inputs of products; the device needs less then.'
      ]
  if compiled and result['data_on_device']:
    notes += ['The data set, which this config keeps on each device, comes on top.']
  for index, stage in enumerate(result['stages']):
    fitting = stage.get('memory', {}).get('micro_batches_that_fit')
    if fitting:
      where = f'In stage {index} set' if index else 'Set'
      notes += [f'{where} micro_batches={fitting}: the batch then fits.']
  return notes


def table(result: dict) -> str:
  """The lines of a plan: one column for each stage."""
  sizes = ', '.join(f'{name} {num:,}' for name, num in result['parameters'].items())
  lines = [
    f'{result["num_devices"]} x {result["device"]}, {size(result["memory_bytes"])} usable each',
    f'{sizes} parameters; state {size(result["state_bytes"])} a device',
    '',
  ]
  columns = [_rows(stage, result) for stage in result['stages']]
  names = list(dict.fromkeys(name for column in columns for name, _ in column))
  width = max(map(len, names))
  for name in names:
    cells = [dict(column).get(name, '-') for column in columns]
    lines.append(f'{name:{width}s}' + ''.join(f'  {cell:>18s}' for cell in cells))
  lines += ['', f'the whole schedule: {duration(result["seconds"])} of steps', '']
  return '\n'.join([*lines, *_notes(result)])
