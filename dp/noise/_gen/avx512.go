package main

import "fmt"

// avx512 draws 8 pairs a turn. Every floating-point operation and its order is
// that of pair in ../rounded_generic.go.
func avx512(a *asm, t *tables) {
	a.begin("roundedAVX512")
	free := 31
	hold := func() string { free--; return fmt.Sprintf("Z%d", free+1) }
	broadcast := func(address string) string {
		r := hold()
		a.op("VBROADCASTSD %s, %s", address, r)
		return r
	}
	load := func(address string) string {
		r := hold()
		a.op("VMOVUPD %s, %s", address, r)
		return r
	}
	sigma, limit := broadcast("sigma+32(FP)"), broadcast("limit+40(FP)")
	inverse, logs := a.table("inverse512", bitsOf(t.inverse[:])...), a.table("log512", bitsOf(t.log[:])...)
	inverse0, inverse1 := load(inverse+"(SB)"), load(inverse+"+64(SB)")
	log0, log1 := load(logs+"(SB)"), load(logs+"+64(SB)")
	one, unit, half := broadcast(a.float(1)), broadcast(a.float(0x1p-64)), broadcast(a.float(0x1p-65))
	minus2Ln2, angle, sign := broadcast(a.float(t.minus2Ln2)), broadcast(a.float(t.angle)), broadcast(a.word(1<<63))
	var poly []string
	for _, c := range t.logs[:6] {
		poly = append(poly, broadcast(a.float(c)))
	}
	if free < 10 {
		panic("registers")
	}
	const u, v, s, m, e, inv, r, p = "Z0", "Z1", "Z2", "Z3", "Z4", "Z5", "Z6", "Z7"
	a.label("loop")
	a.op("VMOVDQU64 (SI), %s", u)
	a.op("VMOVDQU64 64(SI), %s", v)
	// s = u or u-1, whichever is within [-1/2, 1/2), and u in m
	a.op("VPMOVQ2M %s, K1", u)
	a.op("VCVTQQ2PD %s, %s", u, s)
	a.op("VFMADD213PD %s, %s, %s", half, unit, s)
	a.op("VMOVAPD %s, %s", s, m)
	a.op("VADDPD %s, %s, K1, %s", one, s, m)
	// r = -2 ln u
	a.op("VGETEXPPD %s, %s", m, e)
	a.op("VPSRLQ $48, %s, %s", m, inv)
	a.op("VGETMANTPD $0, %s, %s", m, m)
	a.op("VMOVDQA64 %s, %s", inv, r)
	a.op("VPERMI2PD %s, %s, %s", inverse1, inverse0, inv)
	a.op("VPERMI2PD %s, %s, %s", log1, log0, r)
	a.op("VFMSUB213PD %s, %s, %s", one, inv, m)
	a.op("VCMPPD.BCST $29, %s, %s, K1, K2", a.float(-1./32), s) // s >= -1/32
	a.op("VMOVAPD %s, K2, %s", s, m)
	const odd, square = "Z8", "Z9"
	a.op("VMULPD %s, %s, %s", m, m, square)
	a.op("VBROADCASTSD %s, %s", a.float(t.logs[7]), odd)
	a.op("VBROADCASTSD %s, %s", a.float(t.logs[6]), p)
	for i := 5; i > 0; i -= 2 {
		a.op("VFMADD213PD %s, %s, %s", poly[i], square, odd)
		a.op("VFMADD213PD %s, %s, %s", poly[i-1], square, p)
	}
	a.op("VFMADD231PD %s, %s, %s", m, odd, p)
	a.op("VFMADD231PD %s, %s, %s", minus2Ln2, e, r)
	a.op("VFMADD231PD %s, %s, %s", p, m, r)
	a.op("VCMPPD.BCST $29, %s, %s, K3", a.float(leastLog), r)
	a.op("VCMPPD.BCST $18, %s, %s, K3, K3", a.float(mostLog), r)
	a.op("VSQRTPD %s, %s", r, r)
	a.op("VMULPD %s, %s, %s", sigma, r, r)
	// sine and cosine of the angle, without its quadrant
	const x, y, sin, cos = "Z2", "Z3", "Z4", "Z5"
	a.op("VPSLLQ $2, %s, %s", v, x)
	a.op("VCVTQQ2PD %s, %s", x, x)
	a.op("VMULPD %s, %s, %s", angle, x, x)
	a.op("VMULPD %s, %s, %s", x, x, y)
	for _, f := range []struct {
		to   string
		poly []float64
	}{{sin, t.sin}, {cos, t.cs}} {
		n := len(f.poly)
		a.op("VBROADCASTSD %s, %s", a.float(f.poly[n-1]), f.to)
		for i := n - 2; i >= 0; i-- {
			a.op("VFMADD213PD.BCST %s, %s, %s", a.float(f.poly[i]), y, f.to)
		}
	}
	a.op("VMULPD %s, %s, %s", x, sin, sin)
	a.op("VMULPD %s, %s, %s", r, sin, sin)
	a.op("VMULPD %s, %s, %s", r, cos, cos)
	// the quadrant: bit 63 of v turns by π/2, bit 62 by π
	const z0, z1, turn = "Z6", "Z7", "Z8"
	a.op("VPMOVQ2M %s, K1", v)
	a.op("VBLENDMPD %s, %s, K1, %s", sin, cos, z0)
	a.op("VBLENDMPD %s, %s, K1, %s", cos, sin, z1)
	a.op("VPSLLQ $1, %s, %s", v, turn)
	a.op("VPTERNLOGQ $0x78, %s, %s, %s", sign, turn, z1) // z1 ^= turn & sign
	a.op("VPXORQ %s, %s, %s", v, turn, turn)
	a.op("VPTERNLOGQ $0x78, %s, %s, %s", sign, turn, z0)
	// farther from an integer than limit: slow, and zero for now
	a.op("VREDUCEPD $8, %s, %s", z0, x)
	a.op("VREDUCEPD $8, %s, %s", z1, y)
	a.op("VRANGEPD $11, %s, %s, %s", x, y, x) // the larger magnitude
	a.op("VCMPPD $18, %s, %s, K3, K3", limit, x)
	for i, z := range []string{z0, z1} {
		a.op("VCVTPD2QQ.Z %s, K3, %s", z, z)
		a.op("VPADDQ %d(DI), %s, %s", 64*i, z, z)
		a.op("VMOVDQU64 %s, %d(DI)", z, 64*i)
	}
	a.op("KNOTB K3, K3")
	a.op("KMOVB K3, AX")
	a.op("MOVB AX, (R8)")
	a.end()
}
