package main

import "fmt"

// relu takes the maximum with zero. Of a NaN or two zeros VMAXPS returns its
// last source (Go's first): x.
var relu = loop{
	name: "relu", args: floatArgs("dst", "x"), unroll: times(4), setup: clearZero,
	body: func(_ *vectorFile, s *section) {
		t := s.v.reg(s.slot)
		s.load(1, t)
		s.op("VMAXPS %s, %s, %s", t, s.v.reg(13), t)
		s.store(t, 0)
	},
}

func clearZero(f *vectorFile, v vec) { f.op("VXORPS %s, %s, %s", v.reg(13), v.reg(13), v.reg(13)) }

var reluGrad = loop{
	name: "reluGrad", args: floatArgs("dst", "dy", "x"), unroll: times(4), setup: clearZero,
	body: func(_ *vectorFile, s *section) {
		const notLessOrEqual = 0x16 // true of NaN
		x, dy := s.v.reg(2*s.slot), s.v.reg(2*s.slot+1)
		s.load(2, x)
		s.load(1, dy)
		if s.v.bits == 512 {
			k := fmt.Sprintf("K%d", 2+s.slot)
			s.op("VCMPPS $%d, %s, %s, %s", notLessOrEqual, s.v.reg(13), x, k)
			s.op("VMOVAPS.Z %s, %s, %s", dy, k, dy)
		} else {
			s.op("VCMPPS $%d, %s, %s, %s", notLessOrEqual, s.v.reg(13), x, x)
			s.op("VANDPS %s, %s, %s", x, dy, dy)
		}
		s.store(dy, 0)
	},
}

var mul = loop{
	name: "mul", args: floatArgs("dst", "x", "y"), unroll: times(4),
	body: func(_ *vectorFile, s *section) {
		x, y := s.v.reg(2*s.slot), s.v.reg(2*s.slot+1)
		s.load(1, x)
		s.load(2, y)
		s.op("VMULPS %s, %s, %s", y, x, x)
		s.store(x, 0)
	},
}

// maximum takes VMAXPS both ways round: the two differ where both are zero,
// and their and is then +0 as one of them is, and where either is NaN.
var maximum = loop{
	name: "maximum", args: floatArgs("dst", "x", "y"), unroll: times(3),
	body: func(_ *vectorFile, s *section) {
		const unordered = 3
		x, y, t := s.v.reg(4*s.slot), s.v.reg(4*s.slot+1), s.v.reg(4*s.slot+2)
		s.load(1, x)
		s.load(2, y)
		s.op("VMAXPS %s, %s, %s", x, y, t)
		if s.v.bits == 512 {
			k := fmt.Sprintf("K%d", 2+s.slot)
			s.op("VCMPPS $%d, %s, %s, %s", unordered, x, y, k)
			s.op("VADDPS %s, %s, %s, %s", x, y, k, t)
			s.op("VMAXPS %s, %s, %s", y, x, x)
			s.op("VADDPS %s, %s, %s, %s", t, t, k, x)
			s.op("VANDPS %s, %s, %s", x, t, t)
		} else {
			n := s.v.reg(4*s.slot + 3)
			s.op("VCMPPS $%d, %s, %s, %s", unordered, x, y, n)
			s.op("VMAXPS %s, %s, %s", y, x, x)
			s.op("VANDPS %s, %s, %s", x, t, t)
			s.op("VORPS %s, %s, %s", n, t, t)
		}
		s.store(t, 0)
	},
}
