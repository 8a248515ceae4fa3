"""Every inversion method behind one signature: (images, generator, domain) -> Trajectory; see `registry.get`.

A method may also say what decides its results, so that they can be kept (`kept.run`): `name`, `settings()`
(JSON-able) and `weights(domain)` (fingerprints of its networks)."""
