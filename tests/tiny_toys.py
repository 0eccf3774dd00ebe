"""A config for runs in processes of their own: small, and one for all tests, so that the second
finds compiled what the first one trained with."""

from configs import toys


def get_config():
  config = toys.get_test_config()
  config.resolution = 8
  config.discriminator.channels = (4, 8, 8)
  # A smaller program.
  config.render.num_fine = config.display.num_fine = 0
  config.loss.r1 = 0.0
  config.data.loader = 'arrays'  # TensorFlow takes seconds to load, in each process
  config.num_steps = 1000000
  config.checkpoint.every = 5
  config.log.update(images_every=0, results=False)
  return config
