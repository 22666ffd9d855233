package main

import (
	"fmt"
	"math/bits"
	"slices"
)

// rankSpills is how many vectors of spilled values the Go side makes room for.
const rankSpills = 64

// manyRows is from how many rows on a network has them fetched by fetchRow. Of fewer,
// each row's next lines are fetched where the row is read, rankAhead bytes before.
const (
	manyRows  = 33
	rankAhead = 192
)

// rankBurst is how many bytes of one row after the other fetchRow fetches, as long before
// they are read.
const rankBurst = 256

// sortSizes are the numbers of rows that networks are made for. Fewer rows are
// padded. Runs of 40, 48, 56 and 64 are what larger numbers are merged from.
var sortSizes = []int{
	2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32,
	36, 40, 44, 48, 50, 52, 56, 60, 64,
}

func init() {
	register("rank", writeFor(fetchRow, sortRows, middleRows))
	register("rankmerge", writeFor(mergeFirst, mergeHalve4, mergeHalve2, mergeLast, rankOfTwo, middleOfTwo, addRanks, addBetween, addAround, copyRanks, boundKeys))
}

// keys turns the float32 of a register into integers of the same order, and
// integers back: each flips the lower bits of negative numbers. AVX-512 has the
// mask of the lower bits in Z31.
func keys(f *vectorFile, v vec, reg, temp int) {
	f.op("VPSRAD $31, %s, %s", v.reg(reg), v.reg(temp))
	if v.bits == 512 {
		f.op("VPTERNLOGD $0x78, Z31, %s, %s", v.reg(temp), v.reg(reg))
		return
	}
	f.op("VPSRLD $1, %s, %s", v.reg(temp), v.reg(temp))
	f.op("VPXOR %s, %s, %s", v.reg(temp), v.reg(reg), v.reg(reg))
}

func lowerBits(f *vectorFile, v vec) {
	if v.bits == 512 {
		f.op("MOVL $0x7fffffff, AX")
		f.op("VPBROADCASTD AX, Z31")
	}
}

// networkRegisters are those that a network may use, and one more for keys.
func networkRegisters(v vec) int {
	if v.bits == 512 {
		return 30
	}
	return 15
}

func (v vec) bytes() int { return v.bits / 8 }

// An argument of 8 bytes, and the register that it is loaded to, if any.
type word struct{ name, typ, reg string }

// words writes a function's head and loads its arguments. float, if any, is a
// last argument that stays where it is.
func (f *vectorFile) words(name string, args []word, float string) {
	sig, size := "", 8*len(args)
	for i, a := range args {
		if i > 0 {
			sig += ", "
		}
		sig += a.name + " " + a.typ
	}
	if float != "" {
		sig += ", " + float + " float32"
		size += 4
	}
	f.raw("\n// func %s(%s)\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", name, sig, name, size)
	for i, a := range args {
		if a.reg != "" {
			f.op("MOVQ %s+%d(FP), %s", a.name, 8*i, a.reg)
		}
	}
}

// perNetwork writes a function for each network, and one that jumps to it by
// the number of rows, its first argument.
func (f *vectorFile) perNetwork(v vec, name string, sizes []int, args []word, float string, body func(n int)) {
	f.words(v.name(name), args, float)
	for _, n := range sizes {
		f.op("CMPQ AX, $%d", n)
		f.op("JNE not%d", n)
		f.op("JMP ·%sx%d<>(SB)", v.name(name), n)
		f.label("not%d", n)
	}
	f.op("RET")
	for _, n := range sizes {
		f.words(fmt.Sprintf("%sx%d<>", v.name(name), n), args, float)
		lowerBits(f, v)
		body(n)
	}
}

// fetchRow fetches rankBurst bytes from byte R12 of the row at (R13) on, and advances
// R13. It is a loop that networks call, for it matters which instruction fetches, perhaps
// since processors learn the strides of each: where every row had one of its own, a
// network of 50 rows took as long as reading them and sorting them one after the other.
func fetchRow(f *vectorFile, v vec) {
	if v.bits != 512 {
		return // it has no vectors: one does for both
	}
	f.raw("\nTEXT ·fetchRow<>(SB), NOSPLIT, $0-0\n")
	f.op("MOVQ (R13), R11")
	f.op("ADDQ R12, R11")
	f.op("MOVL $%d, R10", rankBurst/64)
	f.label("line")
	f.op("PREFETCHT0 (R11)")
	f.op("ADDQ $64, R11")
	f.op("DECL R10")
	f.op("JNZ line")
	f.op("ADDQ $8, R13")
	f.op("RET")
}

// networkLoop writes the loop over the vectors of n rows: body between the
// loads of pointers and the end. Of many rows, each vector of a burst fetches the next
// burst of its share of them; shares may go past the last row by seven.
func networkLoop(f *vectorFile, v vec, n int, body func(p *placement)) {
	f.op("PCALIGN $32")
	f.label("vector")
	p := &placement{f: f, v: v, net: &network{}}
	if n >= manyRows {
		vectors := rankBurst / v.bytes()
		p.asides = (n + vectors - 1) / vectors
		p.aside = func() { f.op("CALL ·fetchRow<>(SB)") }
		f.op("MOVQ DX, R10") // which vector of its burst this is, and its first row
		f.op("ANDQ $%d, R10", rankBurst-1)
		f.op("LEAQ %d(DX), R12", rankBurst)
		f.op("SUBQ R10, R12")
		f.op("SHRQ $%d, R10", bits.TrailingZeros(uint(v.bytes())))
		f.op("IMULQ $%d, R10", p.asides)
		f.op("LEAQ (SI)(R10*8), R13")
	}
	p.load = func(row, reg int) {
		f.op("MOVQ %d(SI), R8", 8*row)
		f.op("%s (R8)(DX*1), %s", p.move(), v.reg(reg))
		if n < manyRows {
			f.op("PREFETCHT0 %d(R8)(DX*1)", rankAhead)
		}
		keys(f, v, reg, networkRegisters(v))
	}
	body(p)
	if p.slots > rankSpills {
		panic(fmt.Sprintf("%d rows spill %d vectors", n, p.slots))
	}
	f.op("ADDQ $%d, DX", v.bytes())
	f.op("DECQ CX")
	f.op("JNZ vector")
	f.op("VZEROUPPER")
	f.op("RET")
}

// sortRows sorts columns of float32 rows and stores them as keys: for each of
// vectors vectors, from byte first of the rows on, a vector per rank at out,
// the next vector's ranks stride bytes on.
func sortRows(f *vectorFile, v vec) {
	f.perNetwork(v, "sortRows", sortSizes, []word{
		{"network", "int", "AX"}, {"rows", "*unsafe.Pointer", "SI"},
		{"first", "int", "DX"}, {"vectors", "int", "CX"}, {"out", "unsafe.Pointer", "DI"}, {"stride", "int", "R9"},
		{"spill", "unsafe.Pointer", "BX"},
	}, "", func(n int) {
		networkLoop(f, v, n, func(p *placement) {
			out := p.net.sort(p.net.inputs(n))
			p.outputs = map[int][]string{}
			for r, o := range out {
				p.outputs[o] = append(p.outputs[o], fmt.Sprintf("%d(DI)", r*v.bytes()))
			}
			p.place(networkRegisters(v), p.net.order(out), nil)
			f.op("ADDQ R9, DI")
		})
	})
}

// middleRows writes to dst the lower of the middle two ranks of n rows, or the
// sum of both if both is not zero, times scale.
func middleRows(f *vectorFile, v vec) {
	f.perNetwork(v, "middleRows", sortSizes, []word{
		{"network", "int", "AX"}, {"rows", "*unsafe.Pointer", "SI"},
		{"vectors", "int", "CX"}, {"dst", "*float32", "DI"}, {"spill", "unsafe.Pointer", "BX"}, {"both", "int", "R9"},
	}, "scale", func(n int) {
		f.op("XORQ DX, DX")
		networkLoop(f, v, n, func(p *placement) {
			out := p.net.sort(p.net.inputs(n))[n/2-1 : n/2+1]
			temp := networkRegisters(v)
			middle := p.place(temp, p.net.order(out), out)
			lower, upper := middle[0], middle[1]
			keys(f, v, lower, temp)
			keys(f, v, upper, temp)
			f.op("TESTQ R9, R9")
			f.op("JZ scale")
			f.op("VADDPS %s, %s, %s", v.reg(upper), v.reg(lower), v.reg(lower))
			f.label("scale")
			f.op("VBROADCASTSS scale+48(FP), %s", v.reg(temp))
			f.op("VMULPS %s, %s, %s", v.reg(temp), v.reg(lower), v.reg(lower))
			f.op("VMOVUPS %s, (DI)", v.reg(lower))
			f.op("ADDQ $%d, DI", v.bytes())
		})
	})
}

// overVectors writes a loop over vectors vectors, stride bytes apart from base:
// body finds the vector's rows at SI.
func overVectors(f *vectorFile, v vec, name string, args []word, float string, body func()) {
	args = append([]word{{"base", "unsafe.Pointer", "SI"}, {"stride", "int", "DX"}, {"vectors", "int", "CX"}}, args...)
	f.words(v.name(name), args, float)
	lowerBits(f, v)
	f.op("PCALIGN $32")
	f.label("vector")
	body()
	f.op("ADDQ DX, SI")
	f.op("DECQ CX")
	f.op("JNZ vector")
	f.op("VZEROUPPER")
	f.op("RET")
}

// mergeLayers runs exchanges on rows held in registers, each between a load and
// a store. at holds the rows' addresses.
func mergeLayers(f *vectorFile, v vec, at []string, exchanges [][2]int) {
	move := (&placement{v: v}).move()
	reg := make([]int, len(at))
	for i := range at {
		reg[i] = i
		f.op("%s %s, %s", move, at[i], v.reg(i))
	}
	spare := len(at)
	for _, x := range exchanges {
		lo, hi := reg[x[0]], reg[x[1]]
		f.op("VPMINSD %s, %s, %s", v.reg(hi), v.reg(lo), v.reg(spare))
		f.op("VPMAXSD %s, %s, %s", v.reg(hi), v.reg(lo), v.reg(hi))
		reg[x[0]], spare = spare, lo
	}
	for i := range at {
		f.op("%s %s, %s", move, v.reg(reg[i]), at[i])
	}
}

// mergeFirst merges two sorted runs of run rows, a multiple of 4, in part: it
// leaves eight bitonic blocks of run/4 rows, each above the one before.
func mergeFirst(f *vectorFile, v vec) {
	overVectors(f, v, "mergeFirst", []word{{"run", "int", ""}}, "", func() {
		f.op("MOVQ run+24(FP), BX") // a quarter of a run, in rows and bytes
		f.op("SHRQ $2, BX")
		f.op("MOVQ BX, R10")
		f.op("IMULQ $%d, R10", v.bytes())
		f.op("LEAQ (R10)(R10*2), R11")
		f.op("MOVQ SI, R8")
		f.op("LEAQ -%d(SI)(R10*8), R9", v.bytes())
		f.label("rows")
		f.op("MOVQ R9, R12")
		f.op("SUBQ R11, R12")
		a := []string{"(R8)", "(R8)(R10*1)", "(R8)(R10*2)", "(R8)(R11*1)"}
		b := []string{"(R12)", "(R12)(R10*1)", "(R12)(R10*2)", "(R9)"}
		mergeLayers(f, v, append(a, b...), [][2]int{
			{0, 7}, {1, 6}, {2, 5}, {3, 4},
			{0, 2}, {1, 3}, {4, 6}, {5, 7},
			{0, 1}, {2, 3}, {4, 5}, {6, 7},
		})
		f.op("ADDQ $%d, R8", v.bytes())
		f.op("SUBQ $%d, R9", v.bytes())
		f.op("DECQ BX")
		f.op("JNZ rows")
	})
}

// mergeHalve4 cuts each of blocks bitonic blocks of 4·rows rows in four.
func mergeHalve4(f *vectorFile, v vec) {
	mergeHalve(f, v, "mergeHalve4", []string{"(R8)", "(R8)(R10*1)", "(R8)(R10*2)", "(R8)(R11*1)"},
		[][2]int{{0, 2}, {1, 3}, {0, 1}, {2, 3}})
}

// mergeHalve2 cuts each of blocks bitonic blocks of 2·rows rows in two.
func mergeHalve2(f *vectorFile, v vec) {
	mergeHalve(f, v, "mergeHalve2", []string{"(R8)", "(R8)(R10*1)"}, [][2]int{{0, 1}})
}

func mergeHalve(f *vectorFile, v vec, name string, at []string, exchanges [][2]int) {
	overVectors(f, v, name, []word{{"rows", "int", ""}, {"blocks", "int", "R13"}}, "", func() {
		f.op("MOVQ rows+24(FP), R10")
		f.op("IMULQ $%d, R10", v.bytes())
		f.op("LEAQ (R10)(R10*2), R11")
		f.op("MOVQ SI, R8")
		f.op("MOVQ R13, R9")
		f.label("block")
		f.op("MOVQ rows+24(FP), BX")
		f.label("rows")
		mergeLayers(f, v, at, exchanges)
		f.op("ADDQ $%d, R8", v.bytes())
		f.op("DECQ BX")
		f.op("JNZ rows")
		if len(at) == 4 {
			f.op("ADDQ R11, R8")
		} else {
			f.op("ADDQ R10, R8")
		}
		f.op("DECQ R9")
		f.op("JNZ block")
	})
}

// lastSizes are the rows of the bitonic blocks that mergeLast sorts: two or
// four times an eighth of a run.
var lastSizes = []int{10, 12, 14, 16, 20, 24, 28, 32}

// mergeLast sorts each of blocks bitonic blocks of rows rows.
func mergeLast(f *vectorFile, v vec) {
	f.perNetwork(v, "mergeLast", lastSizes, []word{
		{"rows", "int", "AX"}, {"base", "unsafe.Pointer", "SI"}, {"stride", "int", "DX"}, {"vectors", "int", "CX"},
		{"blocks", "int", "R13"}, {"spill", "unsafe.Pointer", "BX"},
	}, "", func(n int) {
		f.label("vector")
		f.op("MOVQ SI, R8")
		f.op("MOVQ R13, R9")
		f.op("PCALIGN $32")
		f.label("block")
		p := &placement{f: f, v: v, net: &network{}, outputs: map[int][]string{}}
		in := p.net.inputs(n)
		out := p.net.sortBitonic(in)
		p.load = func(row, reg int) { f.op("%s %d(R8), %s", p.move(), row*v.bytes(), v.reg(reg)) }
		for r, o := range out {
			p.outputs[o] = append(p.outputs[o], fmt.Sprintf("%d(R8)", r*v.bytes()))
		}
		// Every row is read before the first is written, or its value would
		// be gone: outputs go where inputs were.
		order := p.net.order(out)
		written := slices.IndexFunc(order, func(v int) bool { return slices.Contains(out, v) })
		for _, v := range order[written:] {
			if p.net.values[v].op == "" {
				panic("a row is read after one was written")
			}
		}
		p.place(networkRegisters(v)+1, order, nil)
		if p.slots > rankSpills {
			panic("merge spills too much")
		}
		f.op("ADDQ $%d, R8", n*v.bytes())
		f.op("DECQ R9")
		f.op("JNZ block")
		f.op("ADDQ DX, SI")
		f.op("DECQ CX")
		f.op("JNZ vector")
		f.op("VZEROUPPER")
		f.op("RET")
	})
}

// rankOfTwo writes the key min over t < count of max(a[t], b[-t]), where a row
// of a is at base and b's at other, to out.
func rankOfTwo(f *vectorFile, v vec) {
	move := (&placement{v: v}).move()
	overVectors(f, v, "rankOfTwo", []word{
		{"other", "unsafe.Pointer", "DI"}, {"count", "int", "R10"}, {"out", "unsafe.Pointer", "R11"},
	}, "", func() {
		f.op("MOVQ SI, R8")
		f.op("MOVQ DI, R9")
		f.op("MOVQ R10, BX")
		f.op("%s (R8), %s", move, v.reg(0))
		f.op("VPMAXSD (R9), %s, %s", v.reg(0), v.reg(0))
		f.op("JMP counted")
		f.op("PCALIGN $32")
		f.label("rows")
		f.op("%s (R8), %s", move, v.reg(1))
		f.op("VPMAXSD (R9), %s, %s", v.reg(1), v.reg(1))
		f.op("VPMINSD %s, %s, %s", v.reg(1), v.reg(0), v.reg(0))
		f.label("counted")
		f.op("ADDQ $%d, R8", v.bytes())
		f.op("SUBQ $%d, R9", v.bytes())
		f.op("DECQ BX")
		f.op("JNZ rows")
		f.op("%s %s, (R11)", move, v.reg(0))
		f.op("ADDQ DX, DI")
		f.op("ADDQ DX, R11")
	})
}

// middleOfTwo writes the keys max over t < count of min(a[t], b[-t]) and min over
// t of max(a[t], b[-t]), where a row of a is at base and b's at other, to two rows
// at out.
func middleOfTwo(f *vectorFile, v vec) {
	move := (&placement{v: v}).move()
	overVectors(f, v, "middleOfTwo", []word{
		{"other", "unsafe.Pointer", "DI"}, {"count", "int", "R10"}, {"out", "unsafe.Pointer", "R11"},
	}, "", func() {
		const lower, upper, a, b = 0, 1, 2, 3
		f.op("MOVQ SI, R8")
		f.op("MOVQ DI, R9")
		f.op("MOVQ R10, BX")
		f.op("%s (R8), %s", move, v.reg(a))
		f.op("%s (R9), %s", move, v.reg(b))
		f.op("VPMINSD %s, %s, %s", v.reg(b), v.reg(a), v.reg(lower))
		f.op("VPMAXSD %s, %s, %s", v.reg(b), v.reg(a), v.reg(upper))
		f.op("JMP counted")
		f.op("PCALIGN $32")
		f.label("rows")
		f.op("%s (R8), %s", move, v.reg(a))
		f.op("%s (R9), %s", move, v.reg(b))
		f.op("VPMINSD %s, %s, %s", v.reg(b), v.reg(a), v.reg(b+1))
		f.op("VPMAXSD %s, %s, %s", v.reg(b), v.reg(a), v.reg(a))
		f.op("VPMAXSD %s, %s, %s", v.reg(b+1), v.reg(lower), v.reg(lower))
		f.op("VPMINSD %s, %s, %s", v.reg(a), v.reg(upper), v.reg(upper))
		f.label("counted")
		f.op("ADDQ $%d, R8", v.bytes())
		f.op("SUBQ $%d, R9", v.bytes())
		f.op("DECQ BX")
		f.op("JNZ rows")
		f.op("%s %s, (R11)", move, v.reg(lower))
		f.op("%s %s, %d(R11)", move, v.reg(upper), v.bytes())
		f.op("ADDQ DX, DI")
		f.op("ADDQ DX, R11")
	})
}

// addRanks adds count rows of keys from base on, in the order of RankSum.
func addRanks(f *vectorFile, v vec) {
	move := (&placement{v: v}).move()
	overVectors(f, v, "addRanks", []word{{"count", "int", "R10"}, {"dst", "*float32", "DI"}}, "scale", func() {
		load := func(row, reg int) {
			f.op("%s %d(R8), %s", move, row*v.bytes(), v.reg(reg))
			keys(f, v, reg, reg+8)
		}
		sum := func(from, to int) { f.op("VADDPS %s, %s, %s", v.reg(from), v.reg(to), v.reg(to)) }
		f.op("MOVQ SI, R8")
		f.op("MOVQ R10, BX")
		load(0, 0)
		f.op("CMPQ BX, $2")
		f.op("JLT scale")
		load(1, 1)
		f.op("JEQ two")
		load(2, 2)
		f.op("CMPQ BX, $4")
		f.op("JLT three")
		load(3, 3)
		f.op("ADDQ $%d, R8", 4*v.bytes())
		f.op("SUBQ $8, BX")
		f.op("JLT rest")
		f.op("PCALIGN $32")
		f.label("rows")
		for i := range 4 {
			load(i, 4+i)
		}
		for i := range 4 {
			sum(4+i, i)
		}
		f.op("ADDQ $%d, R8", 4*v.bytes())
		f.op("SUBQ $4, BX")
		f.op("JGE rows")
		f.label("rest")
		f.op("ADDQ $4, BX")
		for i := range 3 {
			f.op("CMPQ BX, $%d", i+1)
			f.op("JLT four")
			load(i, 4+i)
			sum(4+i, i)
		}
		f.label("four")
		sum(3, 2)
		f.label("three")
		sum(1, 0)
		sum(2, 0)
		f.op("JMP scale")
		f.label("two")
		sum(1, 0)
		f.label("scale")
		f.op("VBROADCASTSS scale+40(FP), %s", v.reg(1))
		f.op("VMULPS %s, %s, %s", v.reg(1), v.reg(0), v.reg(0))
		f.op("VMOVUPS %s, (DI)", v.reg(0))
		f.op("ADDQ $%d, DI", v.bytes())
	})
}

// addBetween is TrimmedSum on two sorted lists of rows of keys, a at base and b at
// other: cut rows are cut off at each end, highA and highB are the byte offsets from
// row 0 of a's and from row 0 of b's cut-th row from the end, and middle is how many
// rows of b are in neither cut.
func addBetween(f *vectorFile, v vec) {
	move := (&placement{v: v}).move()
	overVectors(f, v, "addBetween", []word{
		{"other", "unsafe.Pointer", "DI"}, {"cut", "int", "R10"}, {"highA", "int", "R11"}, {"highB", "int", "R12"},
		{"middle", "int", "AX"}, {"dst", "*float32", "R13"},
	}, "scale", func() {
		const chain, x, temp = 0, 4, 8
		take := func(k int) {
			keys(f, v, x+k, temp+k)
			f.op("VADDPS %s, %s, %s", v.reg(x+k), v.reg(chain+k), v.reg(chain+k))
		}
		for k := range 4 {
			f.op("VXORPS X%d, X%d, X%d", chain+k, chain+k, chain+k)
		}
		f.op("MOVQ SI, R8")
		f.op("MOVQ R10, R9")
		f.op("IMULQ $%d, R9", v.bytes())
		f.op("LEAQ -%d(DI)(R9*1), R9", v.bytes())
		f.op("MOVQ R10, BX")
		f.op("PCALIGN $32")
		f.label("cut")
		f.op("%s (R8), %s", move, v.reg(x))
		f.op("VPMAXSD (R9), %s, %s", v.reg(x), v.reg(x))
		f.op("%s (R8)(R11*1), %s", move, v.reg(x+1))
		f.op("VPMINSD (R9)(R12*1), %s, %s", v.reg(x+1), v.reg(x+1))
		take(0)
		take(1)
		f.op("ADDQ $%d, R8", v.bytes())
		f.op("SUBQ $%d, R9", v.bytes())
		f.op("DECQ BX")
		f.op("JNZ cut")
		f.op("MOVQ middle+56(FP), BX")
		f.op("MOVQ R8, R9") // as far from b's first row as from a's
		f.op("SUBQ SI, R9")
		f.op("ADDQ DI, R9")
		f.op("TESTQ BX, BX")
		f.op("JZ last")
		f.op("PCALIGN $32")
		f.label("middle")
		f.op("%s (R8), %s", move, v.reg(x+2))
		f.op("%s (R9), %s", move, v.reg(x+3))
		take(2)
		take(3)
		f.op("ADDQ $%d, R8", v.bytes())
		f.op("ADDQ $%d, R9", v.bytes())
		f.op("DECQ BX")
		f.op("JNZ middle")
		f.label("last")
		f.op("CMPQ R11, R12")
		f.op("JEQ sum")
		f.op("%s (R8), %s", move, v.reg(x+2))
		take(2)
		f.label("sum")
		f.op("VADDPS %s, %s, %s", v.reg(1), v.reg(0), v.reg(0))
		f.op("VADDPS %s, %s, %s", v.reg(3), v.reg(2), v.reg(2))
		f.op("VADDPS %s, %s, %s", v.reg(2), v.reg(0), v.reg(0))
		f.op("VBROADCASTSS scale+72(FP), %s", v.reg(1))
		f.op("VMULPS %s, %s, %s", v.reg(1), v.reg(0), v.reg(0))
		f.op("VMOVUPS %s, (R13)", v.reg(0))
		f.op("ADDQ $%d, R13", v.bytes())
		f.op("ADDQ DX, DI")
	})
}

// addAround is MeanAround on the n sorted rows of keys at base: lower and upper
// are the byte offsets of the middle rows, the same one if n is odd.
func addAround(f *vectorFile, v vec) {
	move := (&placement{v: v}).move()
	const (
		moving, still, median, kept, entering, leaving, gap = 0, 1, 2, 3, 4, 5, 6
	)
	overVectors(f, v, "addAround", []word{
		{"n", "int", "R9"}, {"m", "int", "R10"}, {"lower", "int", "R11"}, {"upper", "int", "R12"}, {"dst", "*float32", "DI"},
	}, "", func() {
		load := func(at string, reg int) {
			f.op("%s %s, %s", move, at, v.reg(reg))
			keys(f, v, reg, 8)
		}
		load("(SI)(R11*1)", median)
		f.op("CMPQ R11, R12")
		f.op("JEQ middle")
		load("(SI)(R12*1)", kept)
		f.op("VADDPS %s, %s, %s", v.reg(kept), v.reg(median), v.reg(median))
		f.op("VMULPS %s, %s, %s", f.half(v), v.reg(median), v.reg(median))
		f.label("middle")
		f.op("VXORPS %s, %s, %s", v.reg(moving), v.reg(moving), v.reg(moving))
		f.op("VXORPS %s, %s, %s", v.reg(still), v.reg(still), v.reg(still))
		f.op("MOVQ R10, R13") // a window, in bytes
		f.op("IMULQ $%d, R13", v.bytes())
		f.op("MOVQ SI, R8")
		f.op("XORQ BX, BX")
		f.op("PCALIGN $32")
		f.label("class") // of ranks BX, BX+m, BX+2m, …: one is in the window
		f.op("CMPQ BX, R10")
		f.op("JGE divide")
		load("(R8)", kept)
		f.op("MOVQ BX, AX")
		f.op("ADDQ R10, AX")
		f.op("CMPQ AX, R9")
		f.op("JGE alone")
		f.op("MOVQ R8, R12")
		f.label("slide")
		load("(R12)", leaving)
		f.op("ADDQ R13, R12")
		load("(R12)", entering)
		f.op("VSUBPS %s, %s, %s", v.reg(leaving), v.reg(median), v.reg(leaving))
		f.op("VSUBPS %s, %s, %s", v.reg(median), v.reg(entering), v.reg(gap))
		if v.bits == 512 {
			f.op("VCMPPS $0x1e, %s, %s, K1", v.reg(gap), v.reg(leaving))
			f.op("VMOVAPS %s, K1, %s", v.reg(entering), v.reg(kept))
		} else {
			f.op("VCMPPS $0x1e, %s, %s, %s", v.reg(gap), v.reg(leaving), v.reg(gap))
			f.op("VBLENDVPS %s, %s, %s, %s", v.reg(gap), v.reg(entering), v.reg(kept), v.reg(kept))
		}
		f.op("ADDQ R10, AX")
		f.op("CMPQ AX, R9")
		f.op("JLT slide")
		f.op("VADDPS %s, %s, %s", v.reg(kept), v.reg(moving), v.reg(moving))
		f.op("JMP next")
		f.label("alone")
		f.op("VADDPS %s, %s, %s", v.reg(kept), v.reg(still), v.reg(still))
		f.label("next")
		f.op("ADDQ $%d, R8", v.bytes())
		f.op("INCQ BX")
		f.op("JMP class")
		f.label("divide")
		f.op("MOVQ upper+48(FP), R12")
		f.op("VADDPS %s, %s, %s", v.reg(still), v.reg(moving), v.reg(moving))
		f.op("VXORPS X8, X8, X8")
		f.op("VCVTSI2SSQ R10, X8, X8")
		f.op("VBROADCASTSS X8, %s", v.reg(8))
		f.op("VDIVPS %s, %s, %s", v.reg(8), v.reg(moving), v.reg(moving))
		f.op("VMOVUPS %s, (DI)", v.reg(moving))
		f.op("ADDQ $%d, DI", v.bytes())
	})
}

// half makes a register of 0.5.
func (f *vectorFile) half(v vec) string {
	f.op("MOVL $0x3f000000, AX")
	f.op("VMOVD AX, X9")
	f.op("VBROADCASTSS X9, %s", v.reg(9))
	return v.reg(9)
}

// copyRanks turns rows rows of keys from base on into float32, ld elements
// apart from dst on.
func copyRanks(f *vectorFile, v vec) {
	move := (&placement{v: v}).move()
	overVectors(f, v, "copyRanks", []word{{"rows", "int", "R10"}, {"dst", "*float32", "DI"}, {"ld", "int", "R11"}}, "", func() {
		f.op("MOVQ SI, R8")
		f.op("MOVQ DI, R9")
		f.op("MOVQ R10, BX")
		f.label("rows")
		f.op("%s (R8), %s", move, v.reg(0))
		keys(f, v, 0, 1)
		f.op("VMOVUPS %s, (R9)", v.reg(0))
		f.op("ADDQ $%d, R8", v.bytes())
		f.op("LEAQ (R9)(R11*4), R9")
		f.op("DECQ BX")
		f.op("JNZ rows")
		f.op("ADDQ $%d, DI", v.bytes())
	})
}

// boundKeys lowers the keys at ends to those of the vectors' rows first bytes from base on,
// and raises those 64 bytes on to those last bytes from it.
func boundKeys(f *vectorFile, v vec) {
	move := (&placement{v: v}).move()
	overVectors(f, v, "boundKeys", []word{{"first", "int", "R8"}, {"last", "int", "R9"}, {"ends", "unsafe.Pointer", "R10"}}, "", func() {
		f.op("%s (SI)(R8*1), %s", move, v.reg(0))
		f.op("VPMINSD (R10), %s, %s", v.reg(0), v.reg(0))
		f.op("%s %s, (R10)", move, v.reg(0))
		f.op("%s (SI)(R9*1), %s", move, v.reg(1))
		f.op("VPMAXSD 64(R10), %s, %s", v.reg(1), v.reg(1))
		f.op("%s %s, 64(R10)", move, v.reg(1))
	})
}
