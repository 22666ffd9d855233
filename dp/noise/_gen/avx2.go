package main

import "math"

// avx2 draws 4 pairs, twice a turn. Every floating-point operation and its order
// is that of pair in ../rounded_generic.go.
func avx2(a *asm, t *tables) {
	a.begin("roundedAVX2")
	a.op("VBROADCASTSD sigma+32(FP), Y15")
	a.op("VBROADCASTSD limit+40(FP), Y14")
	var pairs []uint64
	for i := range t.inverse {
		pairs = append(pairs, math.Float64bits(t.inverse[i]), math.Float64bits(t.log[i]))
	}
	a.op("LEAQ %s(SB), R9", a.table("log256", pairs...))
	a.label("loop")
	for half := range 2 {
		a.avx2Half(t, 32*half)
		a.op("VMOVMSKPD Y0, %s", []string{"R12", "AX"}[half])
	}
	a.op("SHLL $4, AX")
	a.op("ORL R12, AX")
	a.op("XORL $255, AX")
	a.op("MOVB AX, (R8)")
	a.end()
}

// signed turns int64 to float64, rounded to nearest, by way of scratch: the
// high half is placed in the mantissa of 2^84, the low half in that of 2^52.
func (a *asm) signed(x, to, scratch string) {
	a.op("VPSRLQ $32, %s, %s", x, scratch)
	a.op("VPXOR %s, %s, %s", a.word(0x4530000080000000), scratch, scratch)
	a.op("VPBLENDD $0xaa, %s, %s, %s", a.word(0x4330000000000000), x, to)
	a.op("VSUBPD %s, %s, %s", a.word(0x4530000080100000), scratch, scratch) // 2^84+2^63+2^52
	a.op("VADDPD %s, %s, %s", scratch, to, to)
}

// avx2Half draws the pairs at an offset and leaves the mask of good ones in Y0.
func (a *asm) avx2Half(t *tables, offset int) {
	const u, v, s, m, e, inv, r, p, tmp = "Y0", "Y1", "Y2", "Y3", "Y4", "Y5", "Y6", "Y7", "Y8"
	a.op("VMOVDQU %d(SI), %s", offset, u)
	a.op("VMOVDQU %d(SI), %s", 64+offset, v)
	// s = u or u-1, whichever is within [-1/2, 1/2), and u in m
	a.signed(u, s, tmp)
	a.op("VMOVUPD %s, %s", a.float(0x1p-65), tmp)
	a.op("VFMADD132PD %s, %s, %s", a.float(0x1p-64), tmp, s)
	a.op("VADDPD %s, %s, %s", a.float(1), s, m)
	a.op("VBLENDVPD %s, %s, %s, %s", u, m, s, m)
	// the table's rows, by address
	a.op("VPSRLQ $44, %s, %s", m, e)
	a.op("VPAND %s, %s, %s", a.word(0xf0), e, e)
	a.op("VEXTRACTI128 $1, %s, X8", e)
	a.op("VMOVQ X4, AX")
	a.op("VPEXTRQ $1, X4, DX")
	a.op("VMOVQ X8, R10")
	a.op("VPEXTRQ $1, X8, R11")
	a.op("VMOVUPD (R9)(AX*1), X5")
	a.op("VMOVUPD (R9)(DX*1), X6")
	a.op("VINSERTF128 $1, (R9)(R10*1), Y5, Y5")
	a.op("VINSERTF128 $1, (R9)(R11*1), Y6, Y6")
	a.op("VUNPCKLPD Y6, Y5, %s", tmp)
	a.op("VUNPCKHPD Y6, Y5, %s", r)
	a.op("VMOVAPD %s, %s", tmp, inv)
	// r = -2 ln u
	a.op("VPSRLQ $52, %s, %s", m, e)
	a.op("VPOR %s, %s, %s", a.float(0x1p52), e, e)
	a.op("VSUBPD %s, %s, %s", a.float(0x1p52+1023), e, e)
	a.op("VANDPD %s, %s, %s", a.word(1<<52-1), m, m)
	a.op("VORPD %s, %s, %s", a.float(1), m, m)
	a.op("VFMSUB213PD %s, %s, %s", a.float(1), inv, m)
	a.op("VCMPPD $29, %s, %s, %s", a.float(-1./32), s, tmp) // s >= -1/32
	a.op("VANDPD %s, %s, %s", u, tmp, tmp)
	a.op("VBLENDVPD %s, %s, %s, %s", tmp, s, m, m)
	a.evenOdd(t.logs, m, p)
	a.op("VFMADD231PD %s, %s, %s", a.float(t.minus2Ln2), e, r)
	a.op("VFMADD231PD %s, %s, %s", p, m, r)
	a.op("VCMPPD $29, %s, %s, %s", a.float(leastLog), r, u)
	a.op("VCMPPD $18, %s, %s, %s", a.float(mostLog), r, tmp)
	a.op("VANDPD %s, %s, %s", tmp, u, u)
	a.op("VSQRTPD %s, %s", r, r)
	a.op("VMULPD Y15, %s, %s", r, r)
	// sine and cosine of the angle, without its quadrant
	const x, y, sin, cos = "Y2", "Y3", "Y4", "Y5"
	a.op("VPSLLQ $2, %s, %s", v, y)
	a.signed(y, x, tmp)
	a.op("VMULPD %s, %s, %s", a.float(t.angle), x, x)
	a.op("VMULPD %s, %s, %s", x, x, y)
	a.horner(t.sin, y, sin)
	a.horner(t.cs, y, cos)
	a.op("VMULPD %s, %s, %s", x, sin, sin)
	a.op("VMULPD %s, %s, %s", r, sin, sin)
	a.op("VMULPD %s, %s, %s", r, cos, cos)
	// the quadrant: bit 63 of v turns by π/2, bit 62 by π
	const z0, z1, turn = "Y6", "Y7", "Y8"
	a.op("VBLENDVPD %s, %s, %s, %s", v, sin, cos, z0)
	a.op("VBLENDVPD %s, %s, %s, %s", v, cos, sin, z1)
	a.op("VPSLLQ $1, %s, %s", v, turn)
	a.op("VPXOR %s, %s, %s", v, turn, v)
	for _, f := range [][2]string{{v, z0}, {turn, z1}} {
		a.op("VPAND %s, %s, %s", a.word(1<<63), f[0], f[0])
		a.op("VPXOR %s, %s, %s", f[0], f[1], f[1])
	}
	// farther from an integer than limit: slow, and zero for now
	const n0, n1 = "Y2", "Y3"
	for _, f := range [][2]string{{z0, n0}, {z1, n1}} {
		a.op("VROUNDPD $8, %s, %s", f[0], f[1])
		a.op("VSUBPD %s, %s, %s", f[1], f[0], f[0])
		a.op("VANDPD %s, %s, %s", a.word(1<<63-1), f[0], f[0])
	}
	a.op("VMAXPD %s, %s, %s", z0, z1, z0)
	a.op("VCMPPD $18, Y14, %s, %s", z0, z0)
	a.op("VANDPD %s, %s, %s", z0, u, u)
	for i, n := range []string{n0, n1} {
		a.op("VADDPD %s, %s, %s", a.float(3<<51), n, n)
		a.op("VPSUBQ %s, %s, %s", a.float(3<<51), n, n)
		a.op("VPAND %s, %s, %s", u, n, n)
		a.op("VPADDQ %d(DI), %s, %s", 64*i+offset, n, n)
		a.op("VMOVDQU %s, %d(DI)", n, 64*i+offset)
	}
}

// evenOdd is a polynomial of 8 coefficients at x, by way of Y8 and Y9: the even
// and the odd part in x², for half the latency.
func (a *asm) evenOdd(poly []float64, x, even string) {
	const odd, square = "Y8", "Y9"
	a.op("VMULPD %s, %s, %s", x, x, square)
	a.op("VMOVUPD %s, %s", a.float(poly[7]), odd)
	a.op("VMOVUPD %s, %s", a.float(poly[6]), even)
	for i := 5; i > 0; i -= 2 {
		a.op("VFMADD213PD %s, %s, %s", a.float(poly[i]), square, odd)
		a.op("VFMADD213PD %s, %s, %s", a.float(poly[i-1]), square, even)
	}
	a.op("VFMADD231PD %s, %s, %s", x, odd, even)
}

// horner is poly at x.
func (a *asm) horner(poly []float64, x, to string) {
	n := len(poly)
	a.op("VMOVUPD %s, %s", a.float(poly[n-1]), to)
	for i := n - 2; i >= 0; i-- {
		a.op("VFMADD213PD %s, %s, %s", a.float(poly[i]), x, to)
	}
}
