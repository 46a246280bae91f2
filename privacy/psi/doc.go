// Package psi finds which of one member's ids another member has: the receiver (a bank) learns which, the sender (a
// provider) learns how many were asked about. It is the Diffie–Hellman intersection on Curve25519, one fresh scalar a
// side and session.
//
//	R receiver with X, scalar r                                   S sender with Y, scalar s
//	  r·H(x), ascending; commitment c_R                             s·H(y), ascending; commitment c_S
//	R→S  0     Hello {session, suite, |X|, c_R}        S→R  0       Hello {session, suite, |Y|, c_S}
//	R→S  1..b  Points r·H(x)                           S→R  1..a    Points s·H(y)          both at once
//	  R keeps the tags of r·(s·H(y))                     S has all b frames, and they are what c_R says; only then:
//	                                                   S→R  a+1..a+b  Tags of s·(r·H(x)), in R's order; forgets s
//	  x is in Y where its tag is among those kept      S→R  a+b+1   Close {count, digest of the tags}
//	R→S  b+1   Close {count, digest of the tags}; forgets r
//
// H is RFC 9380's curve25519_XMD:SHA-512_ELL2_NU_. A tag is the first ceil((40 + log2|X| + log2|Y|)/8) bytes of a
// u-coordinate: over the whole session one false match is expected in 2^40 sessions. Sizes are announced as they are or
// rounded up (Padding), and the difference is filled with points that nobody's id has.
//
// Points travel in ascending order of their bytes. That order is a function of the set alone: it says no more about the
// order of the ids than a random shuffle would, and a point that comes twice is seen without remembering any.
//
// # Who learns what
//
// Against sides that follow the protocol and think about what they saw (semi-honest), if Diffie–Hellman is hard on
// Curve25519 and H is a random oracle:
//
//   - the receiver learns which of its ids are in Y, and |Y| as announced; of the rest of Y nothing;
//   - the sender learns |X| as announced, and nothing of X or of the matches;
//   - both learn when and how long the other worked.
//
// Not against sides that don't: a sender can use another scalar for each point, or a set that isn't its own, and the
// receiver gets a wrong answer without noticing; a receiver can ask about ids that it made up, and credit codes can be
// listed. What is refused is listed at the codes. Limits to sizes are the only defence here; a price for each id and the
// private lookup's committed key are others.
//
// # Crashes
//
// A session goes on where it was: frames are numbered and kept by the Link, the scalar and the sorted points by Store
// and Spool. A frame that was sent is never made anew, a frame that was not is made again from the same scalar, so both
// sides' transcripts are the same whatever broke. The scalar is overwritten before the session is reported done.
package psi
