package he

import (
	"math/bits"

	"github.com/tuneinsight/lattigo/v5/he"
)

// cost predicts the time of ring operations in milliseconds at one degree, from the
// number of transforms and of products that lattigo makes. It only ranks plans.
type cost struct {
	transform float64 // of one residue polynomial to the transformed domain or back
	product   float64 // of one residue polynomial with another, added up
}

// costAt scales figures of a 2024 server core to the ring degree.
func costAt(logN int) cost {
	n := float64(int(1) << logN)
	return cost{transform: n * float64(logN) * 0.55e-6, product: n * 1.1e-6}
}

// decompose is the time to raise a polynomial at the level to the digits of key
// switching, with one auxiliary prime.
func (c cost) decompose(level int) float64 {
	l := float64(level + 1)
	return l*c.transform + l*l*(c.transform+c.product)
}

// keyProduct is the digits' product with a key.
func (c cost) keyProduct(level int) float64 {
	l := float64(level + 1)
	return 2 * l * (l + 1) * c.product
}

// lower is the division of two polynomials by the auxiliary prime.
func (c cost) lower(level int) float64 {
	return 2 * (c.transform + float64(level+1)*(c.transform+c.product))
}

func (c cost) rotation(level int) float64 {
	return c.decompose(level) + c.keyProduct(level) + c.lower(level)
}

// rescale divides two polynomials by the last prime of the level.
func (c cost) rescale(level int) float64 {
	return 2 * (c.transform + float64(level)*(c.transform+c.product))
}

// diagonals is the time of a linear transformation by baby steps of the given number
// and giant steps.
func (c cost) diagonals(level int, baby, giant, all int) float64 {
	l := float64(level + 1)
	t := c.lower(level) + float64(all)*2*(l+1)*c.product
	if baby > 0 || giant > 0 {
		t += c.decompose(level)
	}
	t += float64(baby) * (c.keyProduct(level) + 2*(l+1)*c.product)
	t += float64(giant) * (c.lower(level)/2 + c.decompose(level) + c.keyProduct(level) + 2*(l+1)*c.product)
	return t
}

// steps counts the rotations of both kinds for the diagonals with n1 baby steps.
func steps(diagonals []int, slots, n1 int) (baby, giant []int) {
	_, giant, baby = he.BSGSIndex(diagonals, slots, n1)
	drop := func(s []int) []int {
		if len(s) > 0 && s[0] == 0 {
			return s[1:]
		}
		return s
	}
	return drop(baby), drop(giant)
}

// ratios are lattigo's admissible log2 ratios of giant to baby steps.
var ratios = []int{0, 1, 2, 3}

// bestRatio chooses the ratio of giant to baby steps by predicted time.
func (c cost) bestRatio(diagonals []int, slots, level int) (ratio int, baby, giant []int, ms float64) {
	for i, r := range ratios {
		n1 := he.FindBestBSGSRatio(diagonals, slots, r)
		b, g := steps(diagonals, slots, max(n1, 1))
		t := c.diagonals(level, len(b), len(g), len(diagonals))
		if i == 0 || t < ms {
			ratio, baby, giant, ms = r, b, g, t
		}
	}
	return ratio, baby, giant, ms
}

// depth is the number of levels that a polynomial of the degree takes: one for a
// square, as its leading factor is folded into the layers around it.
func depth(degree int) int {
	if degree <= 2 {
		return 1
	}
	return bits.Len(uint(degree))
}
