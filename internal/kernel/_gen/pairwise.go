package main

import (
	"fmt"
	"math"
)

func init() {
	register("pairwise", writeFor(distances, distancesOwn, distancesTo, addRows, mixRows))
}

// A distanceTile is the squared distances of rows rows to columns others, or among
// themselves, each in an accumulator of its own, so that a pair's bits do not depend on
// its place.
type distanceTile struct {
	rows, columns int
	own           bool
	temps         []int
}

func distanceTileOf(v vec) distanceTile {
	if v.bits == 512 {
		return distanceTile{4, 4, false, []int{21, 22, 23, 24, 25, 26, 27, 28}}
	}
	return distanceTile{4, 2, false, []int{11, 12, 13}}
}

// pointAhead is how many bytes before it reads them distancesTo fetches a row's next
// elements.
const pointAhead = 512

// distances adds the squared distances of four rows to four others (AVX2: two)
// over n elements from byte first on to sums, whose rows are ld elements apart.
// Those out of range it leaves: it returns the bits of those added, row by row.
// Meanwhile it fetches n elements at ahead, and AVX-512 at ahead2.
func distances(f *vectorFile, v vec) { distanceTileOf(v).write(f, v, "distances") }

// distancesOwn does the same for the six pairs of four rows, x: 01, 02, 03, 12 to the first
// row of sums, 13 and 23 to the second, and their bits in that order. It has no y, and
// AVX2 too fetches at ahead2.
func distancesOwn(f *vectorFile, v vec) {
	t := distanceTileOf(v)
	t.own, t.columns = true, 4
	t.temps = []int{12, 13, 14}
	t.write(f, v, "distancesOwn")
}

// distancesTo does the same for four rows and one other, and fetches the four rows'
// own elements.
func distancesTo(f *vectorFile, v vec) {
	t := distanceTileOf(v)
	t.columns = 1
	t.write(f, v, "distancesTo")
}

func (t distanceTile) write(f *vectorFile, v vec, name string) {
	f.raw("\n// func %s(x, y *unsafe.Pointer, first, n int, sums *float64, ld int, ahead, ahead2 unsafe.Pointer) (added int)\n", v.name(name))
	f.raw("TEXT ·%s(SB), NOSPLIT, $0-72\n", v.name(name))
	x := []string{"R8", "R9", "R10", "R11"}
	y := []string{"R12", "R13", "SI", "DI"}
	f.op("MOVQ x+0(FP), AX")
	if !t.own {
		f.op("MOVQ y+8(FP), BX")
	}
	f.op("MOVQ first+16(FP), DX")
	f.op("MOVQ n+24(FP), CX")
	for i := range t.rows {
		f.op("MOVQ %d(AX), %s", 8*i, x[i])
	}
	for j := 0; j < t.columns && !t.own; j++ {
		f.op("MOVQ %d(BX), %s", 8*j, y[j])
	}
	f.op("MOVQ ahead+48(FP), AX")
	f.op("MOVQ ahead2+56(FP), BX")
	pairs := t.rows * t.columns
	if t.own {
		pairs = 8 // two are none
	}
	for i := range pairs {
		f.op("VXORPS %s, %s, %s", v.reg(i), v.reg(i), v.reg(i))
	}
	column, row := pairs, pairs+t.columns
	terms := func(masked bool) {
		load := func(base string, reg int) {
			switch {
			case !masked:
				f.op("VMOVUPS (%s)(DX*1), %s", base, v.reg(reg))
			case v.bits == 512:
				f.op("VMOVUPS.Z (%s)(DX*1), K1, %s", base, v.reg(reg))
			default:
				f.op("VMASKMOVPS (%s)(DX*1), Y15, %s", base, v.reg(reg))
			}
		}
		next := 0
		add := func(a, b, pair int) {
			d := v.reg(t.temps[next%len(t.temps)])
			next++
			f.op("VSUBPS %s, %s, %s", v.reg(b), v.reg(a), d)
			f.op("VFMADD231PS %s, %s, %s", d, d, v.reg(pair))
		}
		if t.own {
			for i := range t.rows {
				load(x[i], column+i)
			}
			pair := 0
			for i := range t.rows {
				for j := i + 1; j < t.rows; j++ {
					add(column+i, column+j, pair)
					pair++
				}
			}
			return
		}
		for j := range t.columns {
			load(y[j], column+j)
		}
		for i := range t.rows {
			load(x[i], row)
			if t.columns == 1 && !masked {
				f.op("PREFETCHT0 %d(%s)(DX*1)", pointAhead, x[i])
			}
			for j := range t.columns {
				add(row, column+j, i*t.columns+j)
			}
		}
	}
	f.op("SUBQ $%d, CX", v.floats())
	f.op("JLT tail")
	f.op("PCALIGN $32")
	f.label("vector")
	terms(false)
	if t.columns > 1 {
		f.op("PREFETCHT1 (AX)")
		f.op("ADDQ $%d, AX", v.bytes())
	}
	if t.columns > 1 && (v.bits == 512 || t.own) {
		f.op("PREFETCHT1 (BX)")
		f.op("ADDQ $%d, BX", v.bytes())
	}
	f.op("ADDQ $%d, DX", v.bytes())
	f.op("SUBQ $%d, CX", v.floats())
	f.op("JGE vector")
	f.label("tail")
	f.op("ADDQ $%d, CX", v.floats())
	f.op("JZ fold")
	f.mask(v)
	terms(true)
	f.label("fold")
	f.op("MOVQ sums+32(FP), DI")
	f.op("MOVQ ld+40(FP), SI")
	f.op("SHLQ $3, SI")
	f.op("XORQ BX, BX")
	if v.bits == 512 {
		for i := range pairs {
			f.op("VEXTRACTF32X8 $1, Z%d, Y16", i)
			f.op("VADDPS Y16, Y%d, Y%d", i, i)
		}
	}
	hadd := func(a, b int) { f.op("VHADDPS Y%d, Y%d, Y%d", b, a, a) }
	// Four sums at a time: a row of the tile, or two of two columns.
	for i := 0; i < pairs; i += 4 {
		hadd(i, i+1)
		hadd(i+2, i+3)
		hadd(i, i+2)
		high, low, in := i+1, i, i+2
		f.op("VEXTRACTF128 $1, Y%d, X%d", low, high)
		f.op("VADDPS X%d, X%d, X%d", high, low, low)
		f.op("VBROADCASTSS %s, X%d", f.float(math.Ldexp(1, -100)), high)
		f.op("VCMPPS $0x1d, X%d, X%d, X%d", high, low, in) // not less than tinySum, in order
		f.op("VBROADCASTSS %s, X%d", f.float(math.MaxFloat32), high)
		f.op("VCMPPS $0x12, X%d, X%d, X%d", high, low, high) // nor above MaxFloat32
		f.op("VANDPS X%d, X%d, X%d", high, in, in)
		f.op("VANDPS X%d, X%d, X%d", in, low, low)
		f.op("VMOVMSKPS X%d, AX", in)
		if i > 0 {
			f.op("SHLQ $%d, AX", i)
		}
		f.op("ORQ AX, BX")
		f.op("VCVTPS2PD X%d, Y%d", low, low)
		if t.columns != 2 {
			f.op("VADDPD (DI), Y%d, Y%d", low, low)
			f.op("VMOVUPD Y%d, (DI)", low)
			f.op("ADDQ SI, DI")
			continue
		}
		f.op("VEXTRACTF128 $1, Y%d, X%d", low, high)
		for _, reg := range []int{low, high} {
			f.op("VADDPD (DI), X%d, X%d", reg, reg)
			f.op("VMOVUPD X%d, (DI)", reg)
			f.op("ADDQ SI, DI")
		}
	}
	f.op("MOVQ BX, added+64(FP)")
	f.op("VZEROUPPER")
	f.op("RET")
}

// rowsAhead is how many bytes before it reads them addRows fetches each row's next
// elements.
const rowsAhead = 512

// addRows writes the weighted sum of rows rows, n elements of each from byte first on,
// to dst: each product is rounded before it is added, row after row, and the elements
// of all rows are read before those of dst are written.
func addRows(f *vectorFile, v vec) { sumRows(f, v, "addRows", rowsAhead) }

// mixRows is addRows for rows that are in the first cache: it fetches four lines at
// ahead alone.
func mixRows(f *vectorFile, v vec) { sumRows(f, v, "mixRows", 0) }

func sumRows(f *vectorFile, v vec, name string, ahead int) {
	args := []word{
		{"dst", "*float32", "DI"}, {"rows", "*unsafe.Pointer", "SI"}, {"w", "*float32", "BX"}, {"count", "int", "R9"},
		{"first", "int", "DX"}, {"n", "int", "CX"},
	}
	if ahead == 0 {
		args = append(args, word{"ahead", "unsafe.Pointer", "R11"})
	}
	f.words(v.name(name), args, "")
	for line := 0; line < 256 && ahead == 0; line += 64 {
		f.op("PREFETCHT0 %d(R11)", line)
	}
	const weight = 14
	columns := func(vectors int, masked bool) {
		at := func(i int) string {
			if i == 0 {
				return "(R8)(DX*1)"
			}
			return fmt.Sprintf("%d(R8)(DX*1)", i*v.bytes())
		}
		row := func(to int) {
			f.op("MOVQ (SI)(R10*8), R8")
			f.op("VBROADCASTSS (BX)(R10*4), %s", v.reg(weight))
			for i := range vectors {
				switch {
				case !masked:
					f.op("VMULPS %s, %s, %s", at(i), v.reg(weight), v.reg(to+i))
				case v.bits == 512:
					f.op("VMOVUPS.Z %s, K1, %s", at(i), v.reg(to+i))
				default:
					f.op("VMASKMOVPS %s, Y15, %s", at(i), v.reg(to+i))
				}
				if masked {
					f.op("VMULPS %s, %s, %s", v.reg(to+i), v.reg(weight), v.reg(to+i))
				}
			}
			for line := 0; line < vectors*v.bytes() && vectors > 1 && ahead > 0; line += 64 {
				f.op("PREFETCHT0 %d(R8)(DX*1)", ahead+line)
			}
		}
		label := fmt.Sprintf("row%d", vectors)
		if masked {
			label = "rowmasked"
		}
		f.op("XORQ R10, R10")
		row(0)
		f.op("JMP %snext", label)
		f.op("PCALIGN $32")
		f.label(label)
		row(vectors)
		for i := range vectors {
			f.op("VADDPS %s, %s, %s", v.reg(vectors+i), v.reg(i), v.reg(i))
		}
		f.label("%snext", label)
		f.op("INCQ R10")
		f.op("CMPQ R10, R9")
		f.op("JLT %s", label)
		for i := range vectors {
			switch {
			case !masked:
				f.op("VMOVUPS %s, %d(DI)", v.reg(i), i*v.bytes())
			case v.bits == 512:
				f.op("VMOVUPS %s, K1, (DI)", v.reg(i))
			default:
				f.op("VMASKMOVPS %s, Y15, (DI)", v.reg(i))
			}
		}
	}
	for _, vectors := range []int{4, 1} {
		label := map[int]string{4: "round", 1: "one"}[vectors]
		f.op("SUBQ $%d, CX", vectors*v.floats())
		f.op("JLT after%s", label)
		f.op("PCALIGN $32")
		f.label(label)
		columns(vectors, false)
		f.op("ADDQ $%d, DX", vectors*v.bytes())
		f.op("ADDQ $%d, DI", vectors*v.bytes())
		f.op("SUBQ $%d, CX", vectors*v.floats())
		f.op("JGE %s", label)
		f.label("after%s", label)
		f.op("ADDQ $%d, CX", vectors*v.floats())
	}
	f.op("TESTQ CX, CX")
	f.op("JZ done")
	f.mask(v)
	columns(1, true)
	f.label("done")
	f.op("VZEROUPPER")
	f.op("RET")
}
