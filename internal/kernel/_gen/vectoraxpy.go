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

var addWords = wordLoop("addWords", "VPADDD")

var subWords = wordLoop("subWords", "VPSUBD")

// wordLoop works on 32-bit integers.
func wordLoop(name, instruction string) loop {
	return loop{
		name: name, args: []arg{{"y", 4, "*uint32"}, {"x", 4, "*uint64"}}, unroll: times(4),
		body: func(_ *vectorFile, s *section) {
			t, y := s.v.reg(2*s.slot), s.v.reg(2*s.slot+1)
			s.load(1, t)
			s.load(0, y)
			s.op("%s %s, %s, %s", instruction, t, y, t)
			s.store(t, 0)
		},
	}
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

// fromInt converts to float64 with an instruction in AVX-512. AVX2 takes the low
// halves beside 2^52 and the high ones, as signed numbers, beside 2^84+2^63;
// the one addition that joins them rounds.
var fromInt = loop{
	name: "fromInt", args: []arg{{"dst", 4, "*float32"}, {"x", 8, "*int64"}}, scalar: "scale", unroll: times(4),
	lanes: func(v vec) int { return v.bits / 64 },
	setup: func(f *vectorFile, v vec) {
		if v.bits == 512 {
			f.op("VCVTPS2PD Y14, Z14")
			return
		}
		f.op("VCVTPS2PD X14, Y14")
		for i, word := range []string{"4330000000000000", "4530000080000000", "4530000080100000"} {
			f.op("MOVQ $0x%s, AX", word)
			f.op("MOVQ AX, X%d", 11+i)
			f.op("VPBROADCASTQ X%d, Y%d", 11+i, 11+i)
		}
	},
	body: func(_ *vectorFile, s *section) {
		t, high := s.v.reg(2*s.slot), s.v.reg(2*s.slot+1)
		if s.v.bits == 512 {
			half := fmt.Sprintf("Y%d", 2*s.slot)
			if s.masked {
				s.op("VCVTQQ2PD.Z %s, K1, %s", s.mem(1), t)
			} else {
				s.op("VCVTQQ2PD %s, %s", s.mem(1), t)
			}
			s.op("VMULPD Z14, %s, %s", t, t)
			s.op("VCVTPD2PS %s, %s", t, half)
			if s.masked {
				s.op("VMOVUPS %s, K1, %s", half, s.mem(0))
			} else {
				s.op("VMOVUPS %s, %s", half, s.mem(0))
			}
			return
		}
		half := fmt.Sprintf("X%d", 2*s.slot)
		if s.masked {
			s.op("VPMOVSXDQ X15, Y10")
			s.op("VPMASKMOVQ %s, Y10, %s", s.mem(1), t)
		} else {
			s.op("VMOVDQU %s, %s", s.mem(1), t)
		}
		s.op("VPSRLQ $32, %s, %s", t, high)
		s.op("VPXOR Y12, %s, %s", high, high)
		s.op("VPBLENDD $0x55, %s, Y11, %s", t, t)
		s.op("VSUBPD Y13, %s, %s", high, high)
		s.op("VADDPD %s, %s, %s", t, high, t)
		s.op("VMULPD Y14, %s, %s", t, t)
		s.op("VCVTPD2PSY %s, %s", t, half)
		if s.masked {
			s.op("VMASKMOVPS %s, X15, %s", half, s.mem(0))
		} else {
			s.op("VMOVUPS %s, %s", half, s.mem(0))
		}
	},
}
