// Package group25519 multiplies and hashes to points of Curve25519 (RFC 7748) in batches, by the u-coordinate alone. It
// is what set intersection rests on; it is no signature or key-exchange library.
//
// A batch shares one scalar and one field inversion. What depends on the scalar or on the hashed string runs without
// branches and table look-ups that depend on it; whether a batch is refused does not count as secret.
//
//   - A Point is 32 bytes, little-endian, below 2^255-19: one encoding for each u. Others are refused.
//   - A Scalar is clamped as in RFC 7748: a multiple of 8, so the cofactor is gone from every product, and a point of
//     small order becomes the identity, which is refused.
//   - u alone doesn't say whether a point lies on the curve or on its twist. Both groups have a large prime order; a
//     scalar is for one session only, so that what a peer's chosen point could tell about it ends with the session.
//
// MulBatch and HashBatch are portable: their field arithmetic is circl's, which uses MULX and ADX where an amd64 has
// them. The ladder of a batch (ladders) and the quadratic character of a batch (characters) see whole batches, so that
// a vectorised form can take their place where a CPU has it.
package group25519
