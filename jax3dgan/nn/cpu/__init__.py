"""Forms of operations that are faster on a CPU than what XLA makes of the plain ones.

Each has a `reference_*`, the plain form, which accelerators take and which `nn.backend.reference`
takes everywhere; both agree up to rounding, in derivatives of either mode and any order.
`benchmarks/RESULTS.md` has what each gains; one that gains less than a tenth has no place here.

* `sine`: a polynomial. On all platforms.
* `softplus`: by `log` instead of `log1p`.
* `columns`: small weights times many columns.
* `convolution`: convolutions as products of patches, and in one layout of memory throughout.
* `tiles`: how much of a rendering fits into the caches.
* `planes`: the gradient of features on planes, two neighbours at a time. On all platforms.
* `sorting`: samples of a ray in ascending order, by counting. On all platforms.

Elsewhere: what accelerators take instead (`nn.thin_products`, `nn.take`, `nn.plane_rows`,
`nn.rounded_conv`; `nn.backend.FORMS` lists them); on all platforms, filters along an axis
(`nn.resample`), and the loss of real images and R1 in one pass (`losses.real_images`).
"""
