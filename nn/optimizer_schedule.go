package nn

import (
	"fmt"
	"math"
)

// Schedule scales the learning rate from step to step. The zero value keeps it
// constant. The scale is a function of the step alone, so a resumed run
// continues it.
type Schedule struct {
	// WarmUp is the number of first steps over which the rate climbs
	// linearly: step t = 0, 1, … runs at (t+1)/WarmUp of it. 0: none.
	WarmUp int
	// Cosine is the number of steps in all, warm-up included, by whose end
	// the rate has fallen along half a cosine to Floor, where it stays
	// (Loshchilov and Hutter 2017, without restarts). 0: no fall.
	Cosine int
	// Floor is the fraction of the rate that is left after Cosine steps, in
	// [0, 1].
	Floor float64
}

// Factor returns what the learning rate of step t is multiplied with; the
// first step is t = 0. It panics if t is negative.
func (s Schedule) Factor(t int) float64 {
	if t < 0 {
		panic("nn: negative step")
	}
	switch {
	case t < s.WarmUp:
		return float64(t+1) / float64(s.WarmUp)
	case s.Cosine == 0:
		return 1
	case t >= s.Cosine:
		return s.Floor
	}
	x := float64(t-s.WarmUp) / float64(s.Cosine-s.WarmUp)
	return s.Floor + float64((1-s.Floor)*halfCosine(x))
}

// halfCosine returns (1+cos(πx))/2 for x in [0, 1] from sums and products
// alone, so that every machine gets the same bits; the error is below 1e-14.
func halfCosine(x float64) float64 {
	// (1+cos πx)/2 = 1 - sin²(πx/2), and sin² is symmetric around x = 1/2.
	flip := x > 0.5
	if flip {
		x = 1 - x
	}
	// sin(h) for h = πx/2 in [0, π/4], Taylor to h^17 / 17! < 5e-17.
	h := float64(math.Pi / 2 * x)
	q := float64(h * h)
	term, sin := h, h
	for k := 2; k <= 16; k += 2 {
		term = -float64(term*q) / float64(k*(k+1))
		sin += term
	}
	sq := float64(sin * sin)
	if flip {
		return sq
	}
	return 1 - sq
}

func (s Schedule) check() error {
	switch {
	case s.WarmUp < 0:
		return fmt.Errorf("nn: Schedule.WarmUp is %d steps, want 0 or more", s.WarmUp)
	case s.Cosine < 0:
		return fmt.Errorf("nn: Schedule.Cosine is %d steps, want 0 or more", s.Cosine)
	case s.Cosine > 0 && s.Cosine <= s.WarmUp:
		return fmt.Errorf("nn: Schedule.Cosine is %d steps, want more than the %d of WarmUp that it includes", s.Cosine, s.WarmUp)
	case s.Cosine == 0 && s.Floor != 0:
		return fmt.Errorf("nn: Schedule.Floor is %v without Cosine, want 0", s.Floor)
	}
	return inRange("Schedule.Floor", s.Floor, 0, 1, "0 to 1")
}

func (s Schedule) settings() []setting {
	return []setting{
		{"Schedule.WarmUp", float64(s.WarmUp)},
		{"Schedule.Cosine", float64(s.Cosine)},
		{"Schedule.Floor", s.Floor},
	}
}
