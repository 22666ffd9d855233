package main

import "fmt"

// magic writes four times the constant 1.5·2^52, beside which a float64 keeps
// integers alone: adding it rounds to nearest even, and the integer is then the
// difference of the two bit patterns.
func (e emitter) magic() {
	e.raw("\n")
	for i := range 4 {
		e.raw(fmt.Sprintf("DATA ·roundMagic+%d(SB)/8, $0x4338000000000000\n", 8*i))
	}
	e.raw("GLOBL ·roundMagic(SB), RODATA|NOPTR, $32\n")
}

// runsTile writes one tile of r rows of GEMMRuns. The elements of a and b
// follow each other from run to run, so that only the counter starts anew.
func (e emitter) runsTile(t tile, r int) {
	label := fmt.Sprintf("rows%d", r)
	e.startTile(r)
	e.prefetch(t, r, 8)
	e.op("MOVQ panel_runs(DI), CX")
	e.op("MOVQ CX, run-8(SP)")
	e.op("MOVQ (CX), CX")
	e.label("%srun", label)
	e.zero(t, r)
	e.chain(t, r, label)
	e.op("MOVQ AX, CX")
	if t.bits == 256 {
		e.op("VMOVUPS ·roundMagic(SB), Y13")
	}
	if t.bits == 256 && !t.masked {
		e.op("MOVQ run-8(SP), R12")
		e.op("CMPQ R12, panel_runs(DI)")
		e.op("LEAQ (R10)(R10*4), R12")
		e.op("JNE %slater", label)
		e.op("VPBROADCASTQ panel_bias(DI), Y14")
		e.flush(t, r, true)
		e.op("JMP %sflushed", label)
		e.label("%slater", label)
		e.flush(t, r, false)
		e.label("%sflushed", label)
	} else {
		e.flush(t, r, true)
	}
	e.op("MOVQ run-8(SP), CX")
	e.op("ADDQ $8, CX")
	e.op("MOVQ CX, run-8(SP)")
	e.op("MOVQ (CX), CX")
	e.op("TESTQ CX, CX")
	e.op("JNZ %srun", label)
	e.op("MOVQ panel_crow(DI), CX")
	e.op("IMULQ $%d, CX", r)
	e.op("ADDQ CX, AX")
}

// flush rounds the accumulators and adds them to the tile of sum at AX. CX is
// scratch.
func (e emitter) flush(t tile, r int, unbias bool) {
	e.op("MOVQ AX, CX")
	for i := range r {
		for v := range t.vecs {
			switch {
			case t.bits == 512:
				e.flush512(t, i, v)
			case t.masked && v == t.vecs-1:
				e.flush256Masked(t, i, v)
			default:
				e.flush256(t, i, v, t.masked, unbias)
			}
		}
		e.op("ADDQ panel_crow(DI), CX")
	}
}

// flush512 rounds an accumulator to integers and adds them at 128·v(CX).
func (e emitter) flush512(t tile, i, v int) {
	acc := i*t.vecs + v
	low, high := fmt.Sprintf("Z%d", 24+2*(acc%4)), fmt.Sprintf("Z%d", 25+2*(acc%4))
	e.op("VEXTRACTF32X8 $1, Z%d, Y%s", acc, high[1:])
	e.op("VCVTPS2QQ Y%d, %s", acc, low)
	e.op("VCVTPS2QQ Y%s, %s", high[1:], high)
	for h, z := range [2]string{low, high} {
		at := 128*v + 64*h
		if v < t.vecs-1 {
			e.op("VPADDQ %d(CX), %s, %s", at, z, z)
			e.op("VMOVDQU64 %s, %d(CX)", z, at)
		} else {
			e.op("VPADDQ %d(CX), %s, K%d, %s", at, z, h+1, z)
			e.op("VMOVDQU64 %s, K%d, %d(CX)", z, h+1, at)
		}
	}
}

// flush256 is flush512 for AVX2, at 64·v(CX). Y13 holds the magic constant, Y12
// is scratch. The bit pattern of the constant is taken off every time (each), or
// else once for all runs of a tile, with the first (unbias): Y14 holds that many
// times the pattern.
func (e emitter) flush256(t tile, i, v int, each, unbias bool) {
	acc := i*t.vecs + v
	for h := range 2 {
		e.toIntegers(acc, h, "Y13")
		at := 64*v + 32*h
		switch {
		case each:
			e.op("VPSUBQ Y13, Y12, Y12")
		case unbias:
			e.op("VPSUBQ Y14, Y12, Y12")
		}
		e.op("VPADDQ %d(CX), Y12, Y12", at)
		e.op("VMOVDQU Y12, %d(CX)", at)
	}
}

// flush256Masked is flush256 for a last vector that is partial. Y13 and Y14 are
// scratch, too; Y13 gets its constant back.
func (e emitter) flush256Masked(t tile, i, v int) {
	acc := i*t.vecs + v
	for h := range 2 {
		e.toIntegers(acc, h, "·roundMagic(SB)")
		at := 64*v + 32*h
		e.op("VPSUBQ ·roundMagic(SB), Y12, Y12")
		mask := "X15"
		if h == 1 {
			e.op("VEXTRACTI128 $1, Y15, X14")
			mask = "X14"
		}
		e.op("VPMOVSXDQ %s, Y14", mask)
		e.op("VPMASKMOVQ %d(CX), Y14, Y13", at)
		e.op("VPADDQ Y13, Y12, Y12")
		e.op("VPMASKMOVQ Y12, Y14, %d(CX)", at)
	}
	if t.vecs > 1 {
		e.op("VMOVUPS ·roundMagic(SB), Y13")
	}
}

// toIntegers leaves in Y12 half h of an accumulator, rounded, as the bit
// patterns of float64 beside the magic constant.
func (e emitter) toIntegers(acc, h int, magic string) {
	from := fmt.Sprintf("X%d", acc)
	if h == 1 {
		e.op("VEXTRACTF128 $1, Y%d, X12", acc)
		from = "X12"
	}
	e.op("VCVTPS2PD %s, Y12", from)
	e.op("VADDPD %s, Y12, Y12", magic)
}
