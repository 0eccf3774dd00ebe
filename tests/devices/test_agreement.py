"""What the processes of a run must have alike, and how a difference is said."""

from jax3dgan.devices import agreement


def test_what_differs_is_named():
  same = {'config': {'a': 1, 'data': {'cache_dir': 'x'}}, 'jax': '1', 'source files': 'f'}
  other = {'config': {'a': 1, 'data': {'cache_dir': 'y'}}, 'jax': '1', 'source files': 'f'}
  assert not agreement.difference([same, other])  # a cache may be each machine's own
  code = other | {'source files': 'g', 'jax': '2'}
  message = agreement.difference([same, other, code])
  assert 'Process 2 has jax 2 and process 0 has 1; source files g and process 0 has f.' in message
  assert agreement.record({})['source files'] == agreement.source_hash()


def test_the_hash_is_of_all_source_files(tmp_path):
  def made(name, **files):
    for key, text in files.items():
      path = tmp_path / name / key.replace('_', '/')
      path = path.with_suffix('.py')
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text)
    return agreement.source_hash(tmp_path / name)

  base = made('a', x='1', sub_y='2')
  assert made('b', x='1', sub_y='2') == base
  assert (
    len({base, made('c', x='1', sub_y='3'), made('d', x='1', sub_z='2'), made('e', x='1')}) == 4
  )
