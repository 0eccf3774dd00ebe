"""The panel of the page: its settings, in viser's controls."""

from jax3dgan.pictures import traced
from jax3dgan.trained import expressions
from jax3dgan.viewer import pictures, uploads

_MAX_SEED = 2**31 - 1


class Panel:
  """The controls of one client.

  Args:
    client: viser's handle of it.
    model: A `trained.Trained`.
    num_layers: Layers that can be mixed; 0 for none.
    sizes: Resolutions of pictures at rest.
    still: That to start with, or None for automatic.
    seed, psi: To start with.
    directions: Whether there will be directions to edit along.
    meshes: Whether meshes can be extracted.
    faces: `trained.expressions.Faces` of a model whose faces have expressions; else None.
  """

  def __init__(
    self, client, model, num_layers, sizes, still, seed, psi, directions, meshes, faces=None
  ):
    gui = self.gui = client.gui
    self.model = model
    kind = ''
    if not model.has_camera:
      kind = ' This is a 2D model: its images have no camera to move.'
    elif not model.has_depth:
      kind = ' This model has no field: no depth, no normals, no mesh.'
    self.title = gui.add_markdown(f'**{model.name}**, step {model.step:,}.{kind}')
    tabs = gui.add_tab_group()
    with tabs.add_tab('Explore'):
      self._explore(sizes, still, seed, psi)
    with tabs.add_tab('Edit'):
      self._edit(num_layers, directions)
    self.tells, self.expressions = None, {}
    if faces is not None:
      with tabs.add_tab('Expression'):
        self._expression(faces.names)
    with tabs.add_tab('Photo'):
      self._photo()
    with tabs.add_tab('Save'):
      self._save(meshes)
    self.status = gui.add_markdown('', visible=False)
    self.progress = gui.add_progress_bar(0, visible=False, animated=True)
    self.cancel = gui.add_button('Cancel', visible=False, color='red')

  def _explore(self, sizes, still, seed, psi):
    gui, model = self.gui, self.model
    self.seed = gui.add_number('Seed', seed, min=0, max=_MAX_SEED, step=1)
    self.step_seed = gui.add_button_group('', ('Previous', 'Next', 'Random'))
    least, most = min(0.0, psi), max(1.0, psi)  # what is asked for may be beyond
    self.psi = gui.add_slider(
      'Truncation', least, most, 0.01, psi, hint='ψ: 1 for none, 0 for the average of all'
    )
    self.show = gui.add_dropdown('Show', pictures.kinds(model), visible=model.has_depth)
    automatic = ('automatic', *(f'{size}²' for size in sizes))
    self.size = gui.add_dropdown(
      'At rest',
      automatic,
      initial_value=f'{still}²' if still else 'automatic',
      visible=len(sizes) > 1,
      hint='Pixels when nothing moves; while moving, the size that is fast enough',
    )
    self.traces = gui.add_checkbox(
      'Sphere tracing',
      traced.can_trace(model),
      visible=traced.can_trace(model),
      hint='While moving, draws the surface of the signed distance alone: larger pictures',
    )
    self.splats = gui.add_checkbox(
      'Draw in the browser',
      False,
      visible=model.generator.has_gaussians,
      hint='Sends the Gaussians once; the page then turns at its own speed, from everywhere',
    )
    self.trained_only = gui.add_checkbox(
      'Trained views only',
      True,
      visible=model.has_camera,
      hint='Limits the camera to the views of the training images',
    )
    self.reset = gui.add_button('Reset view', visible=model.has_camera)
    self.hint = gui.add_markdown('', visible=False)
    self.frame = gui.add_markdown('')

  def _edit(self, num_layers, directions):
    gui = self.gui
    with gui.add_folder('Style mixing', visible=num_layers > 0):
      self.mix = gui.add_checkbox(
        'Mix', False, hint='Styles of a second seed in some of the layers'
      )
      self.mix_seed = gui.add_number('Second seed', 1, min=0, max=_MAX_SEED, step=1)
      last = max(num_layers, 1)
      self.layers = gui.add_multi_slider(
        'Layers', 0, last, 1, (last // 2, last), hint='First layer and the one after the last'
      )
    self.directions = gui.add_folder('Directions', visible=directions)
    with self.directions:
      self.looking = gui.add_markdown('Looking for directions …')
    self.sliders: dict = {}

  def add_directions(self, names, changed) -> None:
    """Adds a slider for each direction; `changed` is called when one is moved."""
    if self.sliders or not names:
      return
    self.directions.visible = True
    self.looking.visible = False
    with self.directions:
      for name in names:
        self.sliders[name] = self.gui.add_slider(name, -3.0, 3.0, 0.1, 0.0)
        self.sliders[name].on_update(changed)
      clear = self.gui.add_button('Clear')

    @clear.on_click
    def _(_):
      for slider in self.sliders.values():
        slider.value = 0.0

  def _expression(self, names):
    gui = self.gui
    self.tells = gui.add_checkbox(
      'Tell the expression', False, hint='That of the sliders, instead of its own; all 0 is neutral'
    )
    presets = expressions.presets(names)
    for name in presets:
      self.expressions[name] = gui.add_slider(name, 0.0, 1.0, 0.05, 0.0)
    least, most = (0.0, 1.0) if presets else (-3.0, 3.0)  # those of other models are deviations
    with gui.add_folder('Weights', expand_by_default=not presets):
      for name in names:
        ends = (-0.5, 0.5) if name in expressions.JAW else (least, most)
        self.expressions[name] = gui.add_slider(name, *ends, 0.05, 0.0)
    clear = gui.add_button('Neutral')

    @clear.on_click
    def _(_):
      for slider in self.expressions.values():
        slider.value = 0.0

  def expression_inputs(self) -> list:
    """The controls of the expression; none of a model without."""
    return [] if self.tells is None else [self.tells, *self.expressions.values()]

  def told_expression(self):
    """((word, strength), ...) of the sliders that are not at 0; None for the face's own."""
    if self.tells is None or not self.tells.value:
      return None
    return tuple((name, float(s.value)) for name, s in self.expressions.items() if s.value)

  def tell(self, strengths) -> None:
    """Sets the sliders to ((word, strength), ...); None for the face's own expression."""
    if self.tells is None or strengths is None:
      return
    self.tells.value = True
    for name, strength in strengths:
      if name in self.expressions:
        self.expressions[name].value = strength

  def _photo(self):
    gui = self.gui
    where = ' Turn the model as the photo was taken first.' if self.model.has_camera else ''
    gui.add_markdown(f'Finds the style of a photo.{where}')
    self.upload = gui.add_upload_button(
      'Choose a photo',
      mime_type='image/png,image/jpeg,image/webp',
      hint=f'PNG, JPEG or WebP, up to {uploads.MAX_BYTES >> 20} MiB',
    )
    self.steps = gui.add_slider('Steps', 50, 700, 50, 300)
    self.use_photo = gui.add_checkbox(
      'Show it', False, visible=False, hint='The style of the photo'
    )

  def _save(self, meshes):
    gui, model = self.gui, self.model
    self.snapshot = gui.add_button('Snapshot (PNG)')
    with gui.add_folder('Video', visible=model.has_camera):
      self.record = gui.add_checkbox('Record', False, hint='The camera, while you move it')
      self.keyframe = gui.add_button('Add keyframe')
      self.path = gui.add_markdown('No views yet.')
      self.duration = gui.add_slider(
        'Seconds', 1, 20, 1, 4, hint='Of a path of keyframes; a recording keeps its own time'
      )
      self.clear_path = gui.add_button('Forget the path')
      self.video = gui.add_button('Make video (MP4)')
    with gui.add_folder('Mesh', visible=meshes):
      self.mesh_size = gui.add_dropdown('Grid', ('64³', '128³', '256³'), initial_value='64³')
      self.mesh = gui.add_button('Show mesh')
      self.hide_mesh = gui.add_button('Back to the picture', visible=False)

  @property
  def still(self) -> int | None:
    """The resolution that was chosen for pictures at rest; None for automatic."""
    return None if self.size.value == 'automatic' else int(self.size.value.rstrip('²'))

  def show_progress(self, name: str | None, share: float) -> None:
    """Shows how far a job is; None for no job."""
    busy = name is not None
    for handle in (self.status, self.progress, self.cancel):
      if handle.visible != busy:
        handle.visible = busy
    if busy:
      text = f'{name}: {100 * share:.0f} %'
      if self.status.content != text:
        self.status.content = text
        self.progress.value = 100 * share
