package main

import "fmt"

// The exponential family. The steps and their order are those of the pure Go
// reference, none fused, so that every level has the same bits.

// expConsts names the constants of reduce and where AVX-512 keeps them.
var expConsts = []struct {
	name string
	x    float64
}{
	{"log2e", 1.44269504088896340736},
	{"ln2hi", 0xb172p-16},
	{"ln2lo", 1.42860682030941723212e-6},
	{"q1", 0.16666647965438622},
	{"q2", 0.04166648184454741},
	{"q3", 0.008337824209582765},
	{"q4", 0.0013933345978937558},
	{"q5", 0.0001736597609701873},
	{"magic", 3 << 22},
	{"half", 0.5},
	{"one", 1},
	{"two", 2},
}

// loadExp loads the constants for AVX-512. AVX2 reads them from memory, but for
// the bounds, which must be a register: reg 12 and reg 13 of both.
func loadExp(most, least float64) func(f *vectorFile, v vec) {
	return func(f *vectorFile, v vec) {
		if most != 0 {
			f.op("VBROADCASTSS %s, %s", f.float(most), v.reg(12))
		}
		if least != 0 {
			f.op("VBROADCASTSS %s, %s", f.float(least), v.reg(13))
		}
		if v.bits == 256 {
			return
		}
		for i, c := range expConsts {
			f.op("VBROADCASTSS %s, Z%d", f.float(c.x), 16+i)
		}
		f.op("VBROADCASTSS %s, Z28", f.constant(signBit))
		f.op("VBROADCASTSS %s, Z29", f.constant(signBit-1))
	}
}

const signBit = 1 << 31

func expConst(f *vectorFile, v vec, name string) string {
	for i, c := range expConsts {
		if c.name == name && v.bits == 512 {
			return v.reg(16 + i)
		} else if c.name == name {
			return f.float(c.x)
		}
	}
	switch {
	case name == "sign" && v.bits == 512:
		return "Z28"
	case name == "sign":
		return f.constant(signBit)
	case name == "magnitude" && v.bits == 512:
		return "Z29"
	case name == "magnitude":
		return f.constant(signBit - 1)
	}
	panic("no constant " + name)
}

// An expSection has six registers: x is 0, n (the rounded quotient, biased by
// the magic number) 1, the rest are free.
type expSection struct {
	f *vectorFile
	*section
}

func (s expSection) r(i int) string          { return s.v.reg(6*s.slot + i) }
func (s expSection) c(name string) string    { return expConst(s.f, s.v, name) }
func (s expSection) mul(y string, x, to int) { s.op("VMULPS %s, %s, %s", y, s.r(x), s.r(to)) }
func (s expSection) add(y string, x, to int) { s.op("VADDPS %s, %s, %s", y, s.r(x), s.r(to)) }
func (s expSection) sub(y string, x, to int) { s.op("VSUBPS %s, %s, %s", y, s.r(x), s.r(to)) }

// reduce turns x in register 0 to e^r-1 in register 0 and n in 1 (biased), by
// way of 2, 3 and 4. In AVX-512, 2 holds n as a float32 afterwards.
func (s expSection) reduce() {
	spare := s.r(2)
	if s.v.bits == 512 {
		spare = s.v.reg(14 + s.slot)
	}
	s.mul(s.c("log2e"), 0, 1)
	s.add(s.c("magic"), 1, 1)
	s.sub(s.c("magic"), 1, 2)
	s.mul(s.c("ln2hi"), 2, 3)
	s.sub(s.r(3), 0, 0)
	s.mul(s.c("ln2lo"), 2, 3)
	s.sub(s.r(3), 0, 0)
	s.mul(s.r(0), 0, 4)
	s.mul(s.c("q5"), 0, 3)
	s.add(s.c("q4"), 3, 3)
	for _, q := range [2][2]string{{"q3", "q2"}, {"q1", "half"}} {
		s.op("VMULPS %s, %s, %s", s.c(q[0]), s.r(0), spare)
		s.op("VADDPS %s, %s, %s", s.c(q[1]), spare, spare)
		s.mul(s.r(4), 3, 3)
		s.add(spare, 3, 3)
	}
	s.mul(s.r(4), 3, 3)
	s.add(s.r(3), 0, 0)
}

// pow2 turns the biased n of a register to 2^n: the bias leaves the low nine
// bits alone.
func (s expSection) pow2(n int) {
	s.op("VPSLLD $23, %s, %s", s.r(n), s.r(n))
	s.op("VPADDD %s, %s, %s", s.c("one"), s.r(n), s.r(n))
}

// finish turns reduce's result to e^x in register 0.
func (s expSection) finish() {
	s.add(s.c("one"), 0, 0)
	if s.v.bits == 512 {
		s.op("VSCALEFPS %s, %s, %s", s.r(2), s.r(0), s.r(0))
		return
	}
	s.op("VPSRLD $1, %s, %s", s.r(1), s.r(3))
	s.op("VPSUBD %s, %s, %s", s.r(3), s.r(1), s.r(1))
	s.pow2(3)
	s.pow2(1)
	s.mul(s.r(3), 0, 0)
	s.mul(s.r(1), 0, 0)
}

var exp = loop{
	name: "exp", args: floatArgs("dst", "x"), unroll: times(2), setup: loadExp(89, -104),
	body: func(f *vectorFile, sec *section) {
		s := expSection{f, sec}
		s.load(1, s.r(0))
		s.op("VMINPS %s, %s, %s", s.r(0), s.v.reg(12), s.r(0))
		s.op("VMAXPS %s, %s, %s", s.r(0), s.v.reg(13), s.r(0))
		s.reduce()
		s.finish()
		s.store(s.r(0), 0)
	},
}

var tanh = loop{
	name: "tanh", args: floatArgs("dst", "x"), unroll: times(2), setup: loadExp(20, 0),
	body: func(f *vectorFile, sec *section) {
		s := expSection{f, sec}
		s.load(1, s.r(5))
		s.op("VANDPS %s, %s, %s", s.c("magnitude"), s.r(5), s.r(0))
		s.op("VANDPS %s, %s, %s", s.c("sign"), s.r(5), s.r(5))
		s.add(s.r(0), 0, 0)
		s.op("VMINPS %s, %s, %s", s.r(0), s.v.reg(12), s.r(0))
		s.reduce()
		s.pow2(1)
		s.mul(s.r(1), 0, 0)
		s.sub(s.c("one"), 1, 1)
		s.add(s.r(1), 0, 0)
		s.add(s.c("two"), 0, 1)
		s.op("VDIVPS %s, %s, %s", s.r(1), s.r(0), s.r(0))
		s.op("VORPS %s, %s, %s", s.r(5), s.r(0), s.r(0))
		s.store(s.r(0), 0)
	},
}

var sigmoid = loop{
	name: "sigmoid", args: floatArgs("dst", "x"), unroll: times(2), setup: loadExp(0, -104),
	body: func(f *vectorFile, sec *section) {
		s := expSection{f, sec}
		s.load(1, s.r(5))
		s.op("VORPS %s, %s, %s", s.c("sign"), s.r(5), s.r(0))
		s.op("VMAXPS %s, %s, %s", s.r(0), s.v.reg(13), s.r(0))
		s.reduce()
		s.finish()
		s.add(s.c("one"), 0, 1)
		if s.v.bits == 512 {
			k := fmt.Sprintf("K%d", 2+s.slot)
			s.op("VPMOVD2M %s, %s", s.r(5), k)
			s.op("VBLENDMPS %s, %s, %s, %s", s.r(0), s.c("one"), k, s.r(0))
		} else {
			s.op("VMOVUPS %s, %s", s.c("one"), s.r(2))
			s.op("VBLENDVPS %s, %s, %s, %s", s.r(5), s.r(0), s.r(2), s.r(0))
		}
		s.op("VDIVPS %s, %s, %s", s.r(1), s.r(0), s.r(0))
		s.store(s.r(0), 0)
	},
}
