package main

// sumLanes is how many float32 partial sums a chunk is added to, on every
// level: 4 AVX-512 accumulators or 8 AVX2 ones.
const sumLanes = 64

// sumAhead is how many bytes before it reads them a sum fetches elements: what comes of
// itself stops at the ends of pages.
const sumAhead = 1024

func sumSquares(f *vectorFile, v vec) { sum(f, v, "sumSquares", floatArgs("x"), "") }

func scaledSumSquares(f *vectorFile, v vec) { sum(f, v, "sumSquaresScaled", floatArgs("x"), "scale") }

func dot(f *vectorFile, v vec) { sum(f, v, "dot", floatArgs("x", "y"), "") }

// sum writes a sum of products over 64 lanes: of the elements of both
// arguments, or of the squares of one, scaled first if there is a scale.
func sum(f *vectorFile, v vec, name string, args []arg, scale string) {
	ret := f.begin(v.name(name), args, scale, " float32")
	accs := sumLanes / v.floats()
	if scale != "" {
		f.op("VBROADCASTSS %s+%d(FP), %s", scale, 8*len(args)+8, v.reg(14))
	}
	for i := range accs {
		f.op("VXORPS %s, %s, %s", v.reg(i), v.reg(i), v.reg(i))
	}
	term := func(acc, first int, masked bool) []string {
		s := &section{v: v, args: args, first: first, masked: masked}
		t := v.reg(8 + acc%4)
		s.load(0, t)
		for i := range args {
			if !masked && 4*first%64 == 0 {
				s.op("PREFETCHT0 %d(%s)", 4*first+sumAhead, pointers[i])
			}
		}
		other := t
		switch {
		case scale != "":
			s.op("VMULPS %s, %s, %s", v.reg(14), t, t)
		case len(args) == 2 && masked:
			other = v.reg(12)
			s.load(1, other)
		case len(args) == 2:
			other = s.mem(1)
		}
		s.op("VMULPS %s, %s, %s", other, t, t)
		s.op("VADDPS %s, %s, %s", t, v.reg(acc), v.reg(acc))
		return s.ops
	}
	emit := func(ops []string) {
		for _, op := range ops {
			f.text.WriteString(op)
		}
	}
	f.op("SUBQ $%d, CX", sumLanes)
	f.op("JLT rest")
	f.op("PCALIGN $32")
	f.label("round")
	for acc := range accs {
		emit(term(acc, acc*v.floats(), false))
	}
	f.advance(args, sumLanes)
	f.op("SUBQ $%d, CX", sumLanes)
	f.op("JGE round")
	f.label("rest")
	f.op("ADDQ $%d, CX", sumLanes)
	for acc := range accs {
		if acc < accs-1 { // at most 63 elements are left
			f.op("CMPQ CX, $%d", v.floats())
			f.op("JLT tail%d", acc)
			emit(term(acc, acc*v.floats(), false))
			f.op("SUBQ $%d, CX", v.floats())
		}
	}
	for acc := accs - 1; acc >= 0; acc-- {
		f.label("tail%d", acc)
		f.op("TESTQ CX, CX")
		f.op("JZ fold")
		f.mask(v)
		emit(term(acc, acc*v.floats(), true))
		if acc > 0 {
			f.op("JMP fold")
		}
	}
	f.label("fold")
	for half := accs / 2; half > 0; half /= 2 {
		for i := range half {
			f.op("VADDPS %s, %s, %s", v.reg(half+i), v.reg(i), v.reg(i))
		}
	}
	if v.bits == 512 {
		f.op("VEXTRACTF32X8 $1, Z0, Y1")
		f.op("VADDPS Y1, Y0, Y0")
	}
	f.op("VEXTRACTF128 $1, Y0, X1")
	f.op("VADDPS X1, X0, X0")
	f.op("VPERMILPS $0x4e, X0, X1")
	f.op("VADDPS X1, X0, X0")
	f.op("VPERMILPS $0x55, X0, X1")
	f.op("VADDSS X1, X0, X0")
	f.op("VMOVSS X0, ret+%d(FP)", ret)
	f.op("VZEROUPPER")
	f.op("RET")
}

// readStream writes a loop that does nothing but load, 512 bytes a round.
func readStream(f *vectorFile, v vec) {
	f.begin(v.name("readStream"), floatArgs("x"), "", "")
	f.op("SUBQ $128, CX")
	f.op("JLT done")
	f.op("PCALIGN $32")
	f.label("round")
	for i := range 128 / v.floats() {
		f.op("VMOVUPS %d(DI), %s", i*v.bits/8, v.reg(i%8))
	}
	f.op("ADDQ $512, DI")
	f.op("SUBQ $128, CX")
	f.op("JGE round")
	f.label("done")
	f.op("VZEROUPPER")
	f.op("RET")
}

// allFinite keeps the greatest magnitude, as an integer, of each lane.
func allFinite(f *vectorFile, v vec) {
	ret := f.begin(v.name("allFinite"), floatArgs("x"), "", " bool")
	abs, infinite := v.reg(13), f.constant(0x7f7fffff)
	const accs = 4
	f.op("VBROADCASTSS %s, %s", f.constant(0x7fffffff), abs)
	for i := range accs {
		f.op("VXORPS %s, %s, %s", v.reg(i), v.reg(i), v.reg(i))
	}
	most := func(acc int, masked bool) {
		s := &section{v: v, args: floatArgs("x"), first: acc * v.floats(), masked: masked}
		t := v.reg(4 + acc)
		s.load(0, t)
		s.op("VANDPS %s, %s, %s", abs, t, t)
		s.op("VPMAXUD %s, %s, %s", t, v.reg(acc), v.reg(acc))
		for _, op := range s.ops {
			f.text.WriteString(op)
		}
	}
	f.op("SUBQ $%d, CX", accs*v.floats())
	f.op("JLT rest")
	f.op("PCALIGN $32")
	f.label("round")
	for acc := range accs {
		most(acc, false)
	}
	f.advance(floatArgs("x"), accs*v.floats())
	f.op("SUBQ $%d, CX", accs*v.floats())
	f.op("JGE round")
	f.label("rest")
	f.op("ADDQ $%d, CX", (accs-1)*v.floats())
	f.op("JLT tail")
	f.label("one")
	most(0, false)
	f.advance(floatArgs("x"), v.floats())
	f.op("SUBQ $%d, CX", v.floats())
	f.op("JGE one")
	f.label("tail")
	f.op("ADDQ $%d, CX", v.floats())
	f.op("JZ fold")
	f.mask(v)
	most(0, true)
	f.label("fold")
	for half := accs / 2; half > 0; half /= 2 {
		for i := range half {
			f.op("VPMAXUD %s, %s, %s", v.reg(half+i), v.reg(i), v.reg(i))
		}
	}
	if v.bits == 512 {
		f.op("VPBROADCASTD %s, Z1", infinite)
		f.op("VPCMPGTD Z1, Z0, K2")
		f.op("KORTESTW K2, K2")
	} else {
		f.op("VPCMPGTD %s, Y0, Y0", infinite)
		f.op("VPTEST Y0, Y0")
	}
	f.op("SETEQ ret+%d(FP)", ret)
	f.op("VZEROUPPER")
	f.op("RET")
}
