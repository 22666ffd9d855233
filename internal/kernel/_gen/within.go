package main

import "strings"

func init() {
	register("within", writeFor(countWithin, sumWithin))
}

// countWithin adds one to the 32-bit counts at DI where a row's values are between those
// of two others, and counts the others.
func countWithin(f *vectorFile, v vec) {
	overWithin(f, v, "countWithin", arg{"votes", 4, "*int32"}, "outside int", func() {
		if v.bits == 512 {
			f.op("XORQ R9, R9")
			f.op("MOVL $1, AX")
			f.op("VPBROADCASTD AX, Z4")
			return
		}
		f.op("VPXOR Y4, Y4, Y4")
		f.op("VPCMPEQD Y5, Y5, Y5") // -1
	}, func(masked bool) {
		if v.bits == 512 {
			f.op("KMOVW K2, AX")
			f.op("POPCNTL AX, AX")
			f.op("ADDQ AX, R9")
			f.op("VMOVDQU32 (DI), K4, Z3")
			f.op("VPADDD Z4, Z3, Z3")
			f.op("VMOVDQU32 Z3, K4, (DI)")
			f.op("ADDQ $64, DI")
			return
		}
		f.op("VPSUBD Y1, Y4, Y4")
		move := func(format string) {
			if masked {
				f.op("VPMASKMOVD "+format, "Y15, ")
			} else {
				f.op("VMOVDQU "+format, "")
			}
		}
		move("(DI), %sY3")
		f.op("VPSUBD Y5, Y3, Y3") // one more
		f.op("VPADDD Y1, Y3, Y3") // less where it is outside
		move("Y3, %s(DI)")
		f.op("ADDQ $32, DI")
	}, func() {
		if v.bits == 512 {
			return
		}
		f.op("VEXTRACTI128 $1, Y4, X1")
		f.op("VPADDD X1, X4, X4")
		f.op("VPSHUFD $0x4e, X4, X1")
		f.op("VPADDD X1, X4, X4")
		f.op("VPSHUFD $0xb1, X4, X1")
		f.op("VPADDD X1, X4, X4")
		f.op("VMOVD X4, R9") // fewer than 2^31: the upper half is zero
	})
}

// sumWithin adds up the 64-bit integers at DI where a row's values are between those of
// two others.
func sumWithin(f *vectorFile, v vec) {
	overWithin(f, v, "sumWithin", arg{"shares", 8, "*int64"}, "sum int64", func() {
		f.op("VPXOR Y4, Y4, Y4")
		f.op("VPXOR Y5, Y5, Y5")
	}, func(masked bool) {
		if v.bits == 512 {
			f.op("KSHIFTRW $8, K4, K5")
			f.op("VPADDQ (DI), Z4, K4, Z4")
			f.op("VPADDQ 64(DI), Z5, K5, Z5")
			f.op("ADDQ $128, DI")
			return
		}
		f.op("VEXTRACTI128 $1, Y1, X2")
		f.op("VPMOVSXDQ X1, Y1")
		f.op("VPMOVSXDQ X2, Y2")
		for i, outside := range []string{"Y1", "Y2"} {
			if !masked {
				f.op("VPANDN %d(DI), %s, Y3", 32*i, outside)
			} else {
				if i == 1 {
					f.op("VEXTRACTI128 $1, Y15, X6")
				} else {
					f.op("VMOVDQU X15, X6")
				}
				f.op("VPMOVSXDQ X6, Y6")
				f.op("VPMASKMOVQ %d(DI), Y6, Y3", 32*i)
				f.op("VPANDN Y3, %s, Y3", outside)
			}
			f.op("VPADDQ Y3, Y%d, Y%d", 4+i, 4+i)
		}
		f.op("ADDQ $64, DI")
	}, func() {
		if v.bits == 512 {
			f.op("VPADDQ Z5, Z4, Z4")
			f.op("VEXTRACTI64X4 $1, Z4, Y5")
		}
		f.op("VPADDQ Y5, Y4, Y4")
		f.op("VEXTRACTI128 $1, Y4, X5")
		f.op("VPADDQ X5, X4, X4")
		f.op("VPSHUFD $0x4e, X4, X5")
		f.op("VPADDQ X5, X4, X4")
		f.op("VMOVQ X4, R9")
	})
}

// overWithin writes a loop over the n values of x, least and most: body finds, of 16
// values, the mask of those outside in K2 and of the others in K4, or of 8 the former in
// Y1. The result is in R9 at the end.
func overWithin(f *vectorFile, v vec, name string, first arg, result string, setup func(), body func(masked bool), end func()) {
	f.raw("\n// func %s(%s %s, x, least, most *float32, n int) (%s)\n", v.name(name), first.name, first.typ, result)
	f.raw("TEXT ·%s(SB), NOSPLIT, $0-48\n", v.name(name))
	for i, arg := range []string{first.name, "x", "least", "most", "n"} {
		f.op("MOVQ %s+%d(FP), %s", arg, 8*i, []string{"DI", "SI", "DX", "R8", "CX"}[i])
	}
	setup()
	if v.bits == 512 {
		f.op("KXNORW K1, K1, K1")
	}
	compare := func(masked bool) {
		if v.bits == 512 {
			for i, reg := range []string{"SI", "DX", "R8"} {
				f.op("VMOVUPS.Z (%s), K1, Z%d", reg, i)
			}
			f.op("VCMPPS $0x11, Z1, Z0, K2") // less, in order
			f.op("VCMPPS $0x1e, Z2, Z0, K3") // greater, in order
			f.op("KORW K2, K3, K2")
			f.op("KANDNW K1, K2, K4")
		} else {
			for i, reg := range []string{"SI", "DX", "R8"} {
				if masked {
					f.op("VMASKMOVPS (%s), Y15, Y%d", reg, i)
				} else {
					f.op("VMOVUPS (%s), Y%d", reg, i)
				}
			}
			f.op("VCMPPS $0x11, Y1, Y0, Y1")
			f.op("VCMPPS $0x1e, Y2, Y0, Y2")
			f.op("VORPS Y2, Y1, Y1")
		}
		body(masked)
	}
	f.op("SUBQ $%d, CX", v.floats())
	f.op("JLT tail")
	f.op("PCALIGN $32")
	f.label("vector")
	compare(false)
	for _, reg := range []string{"SI", "DX", "R8"} {
		f.op("ADDQ $%d, %s", v.bytes(), reg)
	}
	f.op("SUBQ $%d, CX", v.floats())
	f.op("JGE vector")
	f.label("tail")
	f.op("ADDQ $%d, CX", v.floats())
	f.op("JZ done")
	f.mask(v)
	compare(true)
	f.label("done")
	end()
	f.op("MOVQ R9, %s+40(FP)", strings.Fields(result)[0])
	f.op("VZEROUPPER")
	f.op("RET")
}
