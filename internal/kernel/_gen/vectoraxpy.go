package main

import "fmt"

var axpy = loop{
	name: "axpy", args: floatArgs("y", "x"), scalar: "a", unroll: times(4),
	body: func(_ *vectorFile, s *section) {
		t, y := s.v.reg(2*s.slot), s.v.reg(2*s.slot+1)
		s.load(1, t)
		s.op("VMULPS %s, %s, %s", s.v.reg(14), t, t)
		s.load(0, y)
		s.op("VADDPS %s, %s, %s", t, y, t)
		s.store(t, 0)
	},
}

var scale = loop{
	name: "scale", args: floatArgs("y", "x"), scalar: "a", unroll: times(4),
	body: func(_ *vectorFile, s *section) {
		t := s.v.reg(s.slot)
		s.load(1, t)
		s.op("VMULPS %s, %s, %s", s.v.reg(14), t, t)
		s.store(t, 0)
	},
}

var add = loop{
	name: "add", args: floatArgs("y", "x"), unroll: times(4),
	body: func(_ *vectorFile, s *section) {
		t, y := s.v.reg(2*s.slot), s.v.reg(2*s.slot+1)
		s.load(1, t)
		s.load(0, y)
		s.op("VADDPS %s, %s, %s", t, y, t)
		s.store(t, 0)
	},
}

// roundAdd rounds with a conversion in AVX-512. AVX2 adds 1.5·2^52, beside
// which a float64 keeps integers alone, so that the integer is the difference
// of the bit patterns.
var roundAdd = loop{
	name: "roundAdd", args: []arg{{"sum", 8, "*int64"}, {"x", 4, "*float32"}}, unroll: times(4),
	lanes: func(v vec) int { return v.bits / 64 },
	setup: func(f *vectorFile, v vec) {
		if v.bits == 256 {
			f.op("MOVQ $0x4338000000000000, AX")
			f.op("MOVQ AX, X13")
			f.op("VPBROADCASTQ X13, Y13")
		}
	},
	body: func(_ *vectorFile, s *section) {
		t, y := s.v.reg(2*s.slot), s.v.reg(2*s.slot+1)
		switch {
		case s.v.bits == 512 && s.masked:
			s.op("VCVTPS2QQ.Z %s, K1, %s", s.mem(1), t)
			s.op("VPADDQ.Z %s, %s, K1, %s", s.mem(0), t, t)
			s.op("VMOVDQU64 %s, K1, %s", t, s.mem(0))
			return
		case s.v.bits == 512:
			s.op("VCVTPS2QQ %s, %s", s.mem(1), t)
			s.op("VPADDQ %s, %s, %s", s.mem(0), t, t)
			s.op("VMOVDQU64 %s, %s", t, s.mem(0))
			return
		case s.masked:
			x := fmt.Sprintf("X%d", 2*s.slot)
			s.op("VMASKMOVPS %s, X15, %s", s.mem(1), x)
			s.op("VPMOVSXDQ X15, Y15")
			s.op("VCVTPS2PD %s, %s", x, t)
		default:
			s.op("VCVTPS2PD %s, %s", s.mem(1), t)
		}
		s.op("VADDPD Y13, %s, %s", t, t)
		s.op("VPSUBQ Y13, %s, %s", t, t)
		if s.masked {
			s.op("VPMASKMOVQ %s, Y15, %s", s.mem(0), y)
			s.op("VPADDQ %s, %s, %s", y, t, t)
			s.op("VPMASKMOVQ %s, Y15, %s", t, s.mem(0))
			return
		}
		s.op("VPADDQ %s, %s, %s", s.mem(0), t, t)
		s.op("VMOVDQU %s, %s", t, s.mem(0))
	},
}
