package group25519

import fp "github.com/cloudflare/circl/math/fp25519"

// MapToCurve maps field elements that are given as points are.
func MapToCurve(us []Point) []Point {
	u := make([]fp.Elt, len(us))
	for i := range us {
		u[i] = fp.Elt(us[i])
	}
	dst := make([]Point, len(u))
	mapToCurve(dst, u)
	return dst
}
