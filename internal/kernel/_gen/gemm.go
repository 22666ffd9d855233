package main

import (
	"bytes"
	"fmt"
)

func init() {
	register("gemm", func(w *bytes.Buffer) {
		e := emitter{w}
		e.raw("#include \"go_asm.h\"\n")
		for _, t := range gemmTiles {
			e.panel(t, false)
		}
		e.transpose()
		e.copyRows()
		e.copyTile()
		e.peak("peakFMA512", "Z", 24)
		e.peak("peakFMA256", "Y", 12)
	})
	register("gemmruns", func(w *bytes.Buffer) {
		e := emitter{w}
		e.raw("#include \"go_asm.h\"\n")
		e.magic()
		for _, t := range gemmTiles {
			e.panel(t, true)
		}
	})
}

// A tile is one shape of micro-kernel: up to rows rows of vecs vectors.
type tile struct {
	bits   int  // 256 or 512
	rows   int  // the most rows of a tile
	vecs   int  // vectors in a row
	masked bool // AVX2 only: the last vector is partial. AVX-512 always masks it.
}

// gemmTiles keep at most 24 (AVX-512) or 12 (AVX2) accumulators: enough chains
// to hide the latency of a fused multiply-add on two ports, with registers left
// for the row of b and the broadcast elements of a.
var gemmTiles = []tile{
	{bits: 512, rows: 6, vecs: 4},
	{bits: 512, rows: 8, vecs: 3},
	{bits: 512, rows: 12, vecs: 2},
	{bits: 512, rows: 12, vecs: 1},
	{bits: 256, rows: 6, vecs: 2},
	{bits: 256, rows: 6, vecs: 2, masked: true},
	{bits: 256, rows: 12, vecs: 1},
	{bits: 256, rows: 12, vecs: 1, masked: true},
}

func (t tile) name(runs bool) string {
	s := "gemm"
	if runs {
		s = "runs"
	}
	s += fmt.Sprintf("%dx%d", t.bits, t.vecs)
	if t.masked {
		s += "mask"
	}
	return s
}

// acc is the accumulator of vector v of row r, in a tile of any height.
func (t tile) acc(r, v int) string { return t.reg(r*t.vecs + v) }

func (t tile) reg(i int) string {
	if t.bits == 512 {
		return fmt.Sprintf("Z%d", i)
	}
	return fmt.Sprintf("Y%d", i)
}

// Vector registers beside the accumulators.
func (t tile) rowOfB(v int) string {
	if t.bits == 512 {
		return t.reg(24 + v)
	}
	return t.reg(12 + v)
}

func (t tile) broadcast(r int) string {
	switch {
	case t.bits == 512:
		return t.reg(28 + r%4)
	case t.masked:
		return "Y14"
	case t.vecs == 1:
		return t.reg(13 + r%3)
	}
	return t.reg(14 + r%2)
}

type emitter struct {
	w *bytes.Buffer
}

func (e emitter) raw(s string) { e.w.WriteString(s) }

func (e emitter) op(format string, args ...any) {
	fmt.Fprintf(e.w, "\t"+format+"\n", args...)
}

func (e emitter) label(format string, args ...any) {
	fmt.Fprintf(e.w, format+":\n", args...)
}

// elementOfA is the address of row r's element of a: rows 0 to 5 from R8,
// 6 to 11 from R9.
func elementOfA(r int) string {
	base := "R8"
	if r >= 6 {
		base, r = "R9", r-6
	}
	return "(" + base + ")" + [6]string{"", "(R10*1)", "(R10*2)", "(R11*1)", "(R10*4)", "(R12*1)"}[r]
}

// panel writes a function that multiplies the rows of a by one panel of b, a
// tile of rows after the other.
//
//	DI the panel, SI the tile's first row of a, AX the tile of c (or sum),
//	R8 and R9 the elements of a, R10 R11 R12 1, 3 and 5 times the stride of a's
//	rows, R13 the stride of a's columns, BX the row of b, DX b's stride, CX the
//	counter, R15 the rows left, K1 or Y15 the mask of the last vector.
func (e emitter) panel(t tile, runs bool) {
	name := t.name(runs)
	frame := 0
	if runs {
		frame = 8 // the place in the list of runs
	}
	e.raw(fmt.Sprintf("\n// func %s(p *panel)\nTEXT ·%s(SB), NOSPLIT, $%d-8\n", name, name, frame))
	e.op("MOVQ p+0(FP), DI")
	e.op("MOVQ panel_a(DI), SI")
	e.op("MOVQ panel_c(DI), AX")
	e.op("MOVQ panel_rows(DI), R15")
	e.op("MOVQ panel_arow(DI), R10")
	e.op("LEAQ (R10)(R10*2), R11")
	e.op("LEAQ (R10)(R10*4), R12")
	e.op("MOVQ panel_acol(DI), R13")
	e.op("MOVQ panel_brow(DI), DX")
	switch {
	case t.bits == 512:
		e.op("MOVQ panel_lanes(DI), CX")
		e.op("KMOVW CX, K1")
		if runs {
			e.op("KSHIFTRW $8, K1, K2")
		}
	case t.masked:
		e.op("MOVQ panel_mask(DI), CX")
		e.op("VMOVDQU (CX), Y15")
	}
	e.label("next")
	e.op("MOVQ panel_tile(DI), CX")
	e.op("CMPQ R15, CX")
	e.op("CMOVQLT R15, CX")
	for r := t.rows; r > 0; r-- {
		e.op("CMPQ CX, $%d", r)
		e.op("JEQ rows%d", r)
	}
	e.op("VZEROUPPER")
	e.op("RET")
	for r := t.rows; r > 0; r-- {
		e.label("rows%d", r)
		if runs {
			e.runsTile(t, r)
		} else {
			e.gemmTile(t, r)
		}
		e.op("ADDQ panel_atile(DI), SI")
		e.op("SUBQ $%d, R15", r)
		e.op("JMP next")
	}
}

// startTile points the tile's registers at its first elements.
func (e emitter) startTile(r int) {
	e.op("MOVQ SI, R8")
	if r > 6 {
		e.op("LEAQ (SI)(R11*2), R9")
	}
	e.op("MOVQ panel_b(DI), BX")
}

// prefetch asks for the next tile of c, or of sum, whose elements have size
// bytes: this one would come too late for a short chain.
func (e emitter) prefetch(t tile, r, size int) {
	e.op("MOVQ panel_crow(DI), CX")
	e.op("IMULQ $%d, CX", r)
	e.op("ADDQ AX, CX")
	for range r {
		for at := 0; at < t.vecs*t.bits/32*size; at += 64 {
			e.op("PREFETCHT0 %d(CX)", at)
		}
		e.op("ADDQ panel_crow(DI), CX")
	}
}

func (e emitter) zero(t tile, r int) {
	for i := range r * t.vecs {
		z := t.reg(i)
		if t.bits == 512 {
			e.op("VPXORQ %s, %s, %s", z, z, z)
		} else {
			e.op("VXORPS %s, %s, %s", z, z, z)
		}
	}
}

// chain runs CX > 0 fused multiply-adds on every accumulator, in order.
func (e emitter) chain(t tile, r int, label string) {
	e.op("SUBQ $2, CX")
	e.op("JLT %sodd", label)
	e.op("PCALIGN $64")
	e.label("%sloop", label)
	e.step(t, r)
	e.step(t, r)
	e.op("SUBQ $2, CX")
	e.op("JGE %sloop", label)
	e.label("%sodd", label)
	e.op("CMPQ CX, $-1")
	e.op("JNE %send", label)
	e.step(t, r)
	e.label("%send", label)
}

// step adds one element of every row of a times a row of b. The element of a
// is always the third operand, so that even the payload of a NaN does not
// depend on the tile.
func (e emitter) step(t tile, r int) {
	bytes := t.bits / 8
	for v := range t.vecs {
		last := v == t.vecs-1
		switch {
		case last && t.bits == 512:
			e.op("VMOVUPS.Z %d(BX), K1, %s", v*bytes, t.rowOfB(v))
		case last && t.masked:
			e.op("VMASKMOVPS %d(BX), Y15, %s", v*bytes, t.rowOfB(v))
		default:
			e.op("VMOVUPS %d(BX), %s", v*bytes, t.rowOfB(v))
		}
	}
	for i := range r {
		if t.bits == 512 && t.vecs == 1 {
			e.op("VFMADD231PS.BCST %s, %s, %s", elementOfA(i), t.rowOfB(0), t.acc(i, 0))
			continue
		}
		x := t.broadcast(i)
		e.op("VBROADCASTSS %s, %s", elementOfA(i), x)
		for v := range t.vecs {
			e.op("VFMADD231PS %s, %s, %s", x, t.rowOfB(v), t.acc(i, v))
		}
	}
	e.op("ADDQ R13, R8")
	if r > 6 {
		e.op("ADDQ R13, R9")
	}
	e.op("ADDQ DX, BX")
}

// gemmTile writes one tile of r rows of GEMM: the accumulators start from zero
// (or, to continue a chain, from c) and are stored, or added to c.
func (e emitter) gemmTile(t tile, r int) {
	label := fmt.Sprintf("rows%d", r)
	e.startTile(r)
	e.prefetch(t, r, 4)
	e.op("MOVQ panel_mode(DI), CX")
	e.op("CMPQ CX, $const_panelContinue")
	e.op("JEQ %sload", label)
	e.zero(t, r)
	e.label("%sfrom", label)
	e.op("MOVQ panel_depth(DI), CX")
	e.chain(t, r, label)
	e.op("MOVQ panel_crow(DI), CX")
	e.op("MOVQ panel_mode(DI), R8")
	e.op("CMPQ R8, $const_panelAdd")
	e.op("JNE %sstore", label)
	e.overC(t, r, "AX", func(at string, last bool, acc string) {
		switch {
		case last && t.bits == 512:
			e.op("VADDPS %s, %s, K1, %s", at, acc, acc)
		case last && t.masked:
			e.op("VMASKMOVPS %s, Y15, Y14", at)
			e.op("VADDPS Y14, %s, %s", acc, acc)
		default:
			e.op("VADDPS %s, %s, %s", at, acc, acc)
		}
		e.store(t, at, last, acc)
	})
	e.op("JMP %sdone", label)
	e.label("%sload", label)
	e.op("MOVQ panel_crow(DI), CX")
	e.op("MOVQ AX, R8")
	e.overC(t, r, "R8", func(at string, last bool, acc string) {
		switch {
		case last && t.bits == 512:
			e.op("VMOVUPS.Z %s, K1, %s", at, acc)
		case last && t.masked:
			e.op("VMASKMOVPS %s, Y15, %s", at, acc)
		default:
			e.op("VMOVUPS %s, %s", at, acc)
		}
	})
	e.op("MOVQ SI, R8")
	e.op("JMP %sfrom", label)
	e.label("%sstore", label)
	e.overC(t, r, "AX", func(at string, last bool, acc string) { e.store(t, at, last, acc) })
	e.label("%sdone", label)
}

// overC visits the vectors of a tile of c from base on, whose stride is CX,
// and leaves base at the row after it.
func (e emitter) overC(t tile, r int, base string, visit func(at string, last bool, acc string)) {
	for i := range r {
		for v := range t.vecs {
			visit(fmt.Sprintf("%d(%s)", v*t.bits/8, base), v == t.vecs-1, t.acc(i, v))
		}
		e.op("ADDQ CX, %s", base)
	}
}

func (e emitter) store(t tile, at string, last bool, acc string) {
	switch {
	case last && t.bits == 512:
		e.op("VMOVUPS %s, K1, %s", acc, at)
	case last && t.masked:
		e.op("VMASKMOVPS %s, Y15, %s", acc, at)
	default:
		e.op("VMOVUPS %s, %s", acc, at)
	}
}

// transpose writes the kernel that turns eight rows into packed columns, an
// 8×8 block at a time.
func (e emitter) transpose() {
	e.raw(`
// func transpose8(p *strip)
TEXT ·transpose8(SB), NOSPLIT, $0-8
`)
	e.op("MOVQ p+0(FP), DI")
	rows := [8]string{"AX", "BX", "CX", "DX", "R8", "R9", "R10", "R11"}
	for i, r := range rows {
		e.op("MOVQ (strip_rows+%d)(DI), %s", 8*i, r)
	}
	e.op("MOVQ strip_dst(DI), R12")
	e.op("MOVQ strip_dstrow(DI), R13")
	e.op("MOVQ strip_blocks(DI), SI")
	e.op("LEAQ (R13)(R13*2), R15")
	e.op("XORQ DI, DI")
	e.label("loop")
	// Rows 0-3 and 4-7 side by side: the low halves of columns 0-3 in Y0-Y3, of
	// columns 4-7 in Y4-Y7.
	for h := range 2 {
		for i := range 4 {
			e.op("VMOVUPS %d(%s)(DI*1), X%d", 16*h, rows[i], 4*h+i)
			e.op("VINSERTF128 $1, %d(%s)(DI*1), Y%d, Y%d", 16*h, rows[4+i], 4*h+i, 4*h+i)
		}
	}
	for h := range 2 {
		b := 4 * h
		e.op("VUNPCKLPS Y%d, Y%d, Y8", b+1, b)
		e.op("VUNPCKHPS Y%d, Y%d, Y9", b+1, b)
		e.op("VUNPCKLPS Y%d, Y%d, Y10", b+3, b+2)
		e.op("VUNPCKHPS Y%d, Y%d, Y11", b+3, b+2)
		e.op("VUNPCKLPD Y10, Y8, Y12")
		e.op("VUNPCKHPD Y10, Y8, Y13")
		e.op("VUNPCKLPD Y11, Y9, Y14")
		e.op("VUNPCKHPD Y11, Y9, Y15")
		e.op("VMOVUPS Y12, (R12)")
		e.op("VMOVUPS Y13, (R12)(R13*1)")
		e.op("VMOVUPS Y14, (R12)(R13*2)")
		e.op("VMOVUPS Y15, (R12)(R15*1)")
		e.op("LEAQ (R12)(R13*4), R12")
	}
	e.op("ADDQ $32, DI")
	e.op("DECQ SI")
	e.op("JNZ loop")
	e.op("VZEROUPPER")
	e.op("RET")
}

// copyRows writes the kernel that copies rows to other distances, two vectors
// of 32 bytes at a time.
func (e emitter) copyRows() {
	e.raw(`
// func copyRows(p *strip)
TEXT ·copyRows(SB), NOSPLIT, $0-8
`)
	e.op("MOVQ p+0(FP), DI")
	e.op("MOVQ strip_rows(DI), SI")
	e.op("MOVQ strip_dst(DI), BX")
	e.op("MOVQ strip_dstrow(DI), R8")
	e.op("MOVQ strip_srcrow(DI), R9")
	e.op("MOVQ strip_blocks(DI), CX")
	e.op("MOVQ strip_size(DI), DX")
	e.label("row")
	e.op("MOVQ DX, AX")
	e.op("MOVQ SI, R10")
	e.op("MOVQ BX, R11")
	e.op("SUBQ $64, AX")
	e.op("JLT last")
	e.label("two")
	e.op("VMOVUPS (R10), Y0")
	e.op("VMOVUPS 32(R10), Y1")
	e.op("VMOVUPS Y0, (R11)")
	e.op("VMOVUPS Y1, 32(R11)")
	e.op("ADDQ $64, R10")
	e.op("ADDQ $64, R11")
	e.op("SUBQ $64, AX")
	e.op("JGE two")
	e.label("last")
	e.op("CMPQ AX, $-32")
	e.op("JLT done")
	e.op("VMOVUPS (R10), Y0")
	e.op("VMOVUPS Y0, (R11)")
	e.label("done")
	e.op("ADDQ R9, SI")
	e.op("ADDQ R8, BX")
	e.op("DECQ CX")
	e.op("JNZ row")
	e.op("VZEROUPPER")
	e.op("RET")
}

// copyTile writes the kernel that copies rows of at most eight floats close to
// each other. Every row but the last is stored whole, and covered by the next.
func (e emitter) copyTile() {
	e.raw(`
// func copyTile(p *strip)
TEXT ·copyTile(SB), NOSPLIT, $0-8
`)
	e.op("MOVQ p+0(FP), DI")
	e.op("MOVQ strip_rows(DI), SI")
	e.op("MOVQ strip_dst(DI), BX")
	e.op("MOVQ strip_dstrow(DI), R8")
	e.op("MOVQ strip_srcrow(DI), R9")
	e.op("MOVQ strip_blocks(DI), CX")
	e.op("MOVQ strip_mask(DI), DX")
	e.op("VMOVDQU (DX), Y1")
	e.op("DECQ CX")
	e.op("JEQ last")
	e.label("row")
	e.op("VMASKMOVPS (SI), Y1, Y0")
	e.op("VMOVUPS Y0, (BX)")
	e.op("ADDQ R9, SI")
	e.op("ADDQ R8, BX")
	e.op("DECQ CX")
	e.op("JNZ row")
	e.label("last")
	e.op("VMASKMOVPS (SI), Y1, Y0")
	e.op("VMASKMOVPS Y0, Y1, (BX)")
	e.op("VZEROUPPER")
	e.op("RET")
}

// peak writes a loop of independent fused multiply-adds in registers alone.
func (e emitter) peak(name, vec string, chains int) {
	e.raw(fmt.Sprintf("\n// func %s(n int)\nTEXT ·%s(SB), NOSPLIT, $0-8\n", name, name))
	e.op("MOVQ n+0(FP), CX")
	for i := range chains + 2 {
		if vec == "Z" {
			e.op("VPXORQ Z%d, Z%d, Z%d", i, i, i)
		} else {
			e.op("VXORPS Y%d, Y%d, Y%d", i, i, i)
		}
	}
	e.op("PCALIGN $64")
	e.label("loop")
	for range 2 {
		for i := range chains {
			e.op("VFMADD231PS %s%d, %s%d, %s%d", vec, chains, vec, chains+1, vec, i)
		}
	}
	e.op("DECQ CX")
	e.op("JNZ loop")
	e.op("VZEROUPPER")
	e.op("RET")
}
