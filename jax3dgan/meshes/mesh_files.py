"""Meshes as files: PLY, OBJ and GLB, written atomically, the same bytes for the same mesh."""

import hashlib
import io
import os
import pathlib
import re

import numpy as np

from jax3dgan import atomic
from jax3dgan.errors import UserError
from jax3dgan.meshes import gltf, surfaces, texturing

ENDINGS = ('.ply', '.obj', '.glb')


def check(path, texture: bool) -> None:
  """Raises a UserError if the format of a file cannot contain the mesh."""
  ending = pathlib.Path(path).suffix.lower()
  if ending not in ENDINGS:
    raise UserError(f'{path} has no known ending. End it in one of {", ".join(ENDINGS)}.')
  if texture and ending == '.ply':
    raise UserError(f'{path}: a PLY file has no texture. End it in .obj or .glb, or leave it out.')


def save(mesh, path, film=None) -> list[pathlib.Path]:
  """Writes a mesh by the file's ending.

  Args:
    mesh: A `trimesh.Trimesh`, with colours at its vertices or a texture or neither.
    path: .ply: binary, colours and normals at the vertices. .obj: text, with the same (colours
      after the coordinates) or with a texture in STEM.mtl and STEM_texture.png, where characters
      of the stem that readers of OBJ files do not find are replaced. .glb: colours or
      texture, and the camera.
    film: A `camera_export.Film` to put into a GLB file; other formats have no camera.

  Returns:
    The files, `path` first.
  """
  path = pathlib.Path(path)
  check(path, texturing.texture_of(mesh) is not None)
  content = {'.ply': _ply, '.obj': _obj, '.glb': _glb}[path.suffix.lower()](mesh, path, film)
  files = {path.name: content} if isinstance(content, bytes) else content
  path.parent.mkdir(parents=True, exist_ok=True)
  for name, data in reversed(files.items()):  # referenced files before the main file
    atomic.write(path.with_name(name), data)
  return [path, *(path.with_name(name) for name in files if name != path.name)]


def _ply(mesh, path, film) -> bytes:
  ply = surfaces.require('trimesh.exchange.ply')
  return ply.export_ply(mesh, encoding='binary', vertex_normal=True)


def _plain(name: str) -> str:
  """A name that every reader of OBJ files finds: they split names at spaces, and some take ASCII.

  A digest keeps the names of `a b` and `a_b` apart.
  """
  plain = re.sub(r'[^A-Za-z0-9._-]+', '_', name)
  if plain == name:
    return name
  return f'{plain}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}'


def _obj(mesh, path, film) -> dict[str, bytes]:
  trimesh, obj = surfaces.require('trimesh', 'trimesh.exchange.obj')
  texture = texturing.texture_of(mesh)
  if texture is None:
    return {path.name: obj.export_obj(mesh, include_normals=True).encode()}
  from PIL import Image

  # An OBJ file's material has no metalness; its files are named after the mesh.
  stem = _plain(path.stem)
  material = trimesh.visual.material.SimpleMaterial(image=Image.fromarray(texture), name=stem)
  other = mesh.copy()
  other.visual = trimesh.visual.TextureVisuals(uv=mesh.visual.uv, material=material)
  other.vertex_normals = mesh.vertex_normals
  text, _ = obj.export_obj(other, include_normals=True, return_texture=True, mtl_name=f'{stem}.mtl')
  image, png = f'{stem}_texture.png', io.BytesIO()
  Image.fromarray(texture).save(png, 'PNG', optimize=True)
  lines = [f'newmtl {stem}', 'Ka 0 0 0', 'Kd 1 1 1', 'Ks 0 0 0', 'illum 1', f'map_Kd {image}']
  mtl = '\n'.join([*lines, ''])
  return {path.name: text.encode(), f'{stem}.mtl': mtl.encode(), image: png.getvalue()}


def _glb(mesh, path, film) -> bytes:
  trimesh = surfaces.require('trimesh')
  other, colours = mesh, None
  if mesh.visual.kind == 'vertex':  # trimesh would write screen colours where linear ones belong
    colours = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    other = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    other.vertex_normals = mesh.vertex_normals
    other.metadata.update(mesh.metadata)
  glb = gltf.Glb(trimesh.exchange.gltf.export_glb(trimesh.Scene({'mesh': other}), True))
  if colours is not None:
    glb.colour(colours)
  if film is not None:
    film.add_to(glb)
  return glb.to_bytes()
