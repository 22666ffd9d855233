package main

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

func init() {
	register("norm", writeFor(sumSquares, scaledSumSquares, dot, readStream))
	register("axpy", writeFor(axpy.write, scale.write, add.write))
	register("round", writeFor(roundAdd.write, fromInt.write))
	register("words", writeFor(addWords.write, subWords.write))
	register("elementwise", writeFor(relu.write, reluGrad.write, mul.write, maximum.write, allFinite))
	register("elementwiseexp", writeFor(exp.write, tanh.write, sigmoid.write))
}

// writeFor runs generators for both instruction sets.
func writeFor(kernels ...func(f *vectorFile, v vec)) func(w *bytes.Buffer) {
	return func(w *bytes.Buffer) {
		f := &vectorFile{}
		for _, kernel := range kernels {
			for _, v := range []vec{{512}, {256}} {
				kernel(f, v)
			}
		}
		f.tables(w)
		w.WriteString(f.text.String())
	}
}

// A vec is an instruction set, by the bits of its vectors.
type vec struct{ bits int }

func (v vec) reg(i int) string {
	if v.bits == 512 {
		return fmt.Sprintf("Z%d", i)
	}
	return fmt.Sprintf("Y%d", i)
}

// floats is how many float32 a vector holds.
func (v vec) floats() int { return v.bits / 32 }

func (v vec) name(kernel string) string { return fmt.Sprintf("%s%d", kernel, v.bits) }

// A vectorFile collects the text of an assembly file and the constants that it
// refers to.
type vectorFile struct {
	text   strings.Builder
	consts []uint32
	masks  bool
}

// constant is the address of eight copies of a word.
func (f *vectorFile) constant(bits uint32) string {
	for i, c := range f.consts {
		if c == bits {
			return fmt.Sprintf("vectorConst<>+%d(SB)", 32*i)
		}
	}
	f.consts = append(f.consts, bits)
	return fmt.Sprintf("vectorConst<>+%d(SB)", 32*(len(f.consts)-1))
}

func (f *vectorFile) float(x float64) string { return f.constant(math.Float32bits(float32(x))) }

// tables writes the constants, and the masks of AVX2: the lanes from 8-n on
// are n ones, then zeros.
func (f *vectorFile) tables(w *bytes.Buffer) {
	if f.masks {
		w.WriteByte('\n')
		for i := range 8 {
			word := uint64(math.MaxUint64)
			if i >= 4 {
				word = 0
			}
			fmt.Fprintf(w, "DATA vectorMask<>+%d(SB)/8, $0x%016x\n", 8*i, word)
		}
		fmt.Fprintf(w, "GLOBL vectorMask<>(SB), RODATA|NOPTR, $64\n")
	}
	if len(f.consts) == 0 {
		return
	}
	w.WriteByte('\n')
	for i, c := range f.consts {
		for j := range 4 {
			fmt.Fprintf(w, "DATA vectorConst<>+%d(SB)/8, $0x%08x%08x\n", 32*i+8*j, c, c)
		}
	}
	fmt.Fprintf(w, "GLOBL vectorConst<>(SB), RODATA|NOPTR, $%d\n", 32*len(f.consts))
}

func (f *vectorFile) raw(format string, args ...any) { fmt.Fprintf(&f.text, format, args...) }

func (f *vectorFile) op(format string, args ...any) { fmt.Fprintf(&f.text, "\t"+format+"\n", args...) }

func (f *vectorFile) label(format string, args ...any) {
	fmt.Fprintf(&f.text, format+":\n", args...)
}

// pointers are the registers of a kernel's pointer arguments, in order. CX
// counts elements.
var pointers = [...]string{"DI", "SI", "DX"}

// An arg is a pointer argument of a kernel.
type arg struct {
	name string
	size int // of an element
	typ  string
}

func floatArgs(names ...string) (args []arg) {
	for _, n := range names {
		args = append(args, arg{n, 4, "*float32"})
	}
	return args
}

// begin writes a function's head and loads its pointers and its count. scalar,
// if any, is a float32 argument, result a result's type. It returns the offset
// of the result in the frame.
func (f *vectorFile) begin(name string, args []arg, scalar, result string) (ret int) {
	var sig []string
	for _, a := range args {
		sig = append(sig, a.name+" "+a.typ)
	}
	sig = append(sig, "n int")
	size := 8*len(args) + 8
	if scalar != "" {
		sig = append(sig, scalar+" float32")
		size += 4
	}
	end := size
	if result != "" {
		ret = (size + 7) &^ 7
		end = ret + map[string]int{" float32": 4, " bool": 1}[result]
	}
	f.raw("\n// func %s(%s)%s\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", name, strings.Join(sig, ", "), result, name, end)
	for i, a := range args {
		f.op("MOVQ %s+%d(FP), %s", a.name, 8*i, pointers[i])
	}
	f.op("MOVQ n+%d(FP), CX", 8*len(args))
	return ret
}

func (f *vectorFile) advance(args []arg, elements int) {
	for i, a := range args {
		f.op("ADDQ $%d, %s", a.size*elements, pointers[i])
	}
}

// mask makes the mask of the CX first lanes, fewer than a vector of lanes
// elements: K1 for AVX-512, Y15 for AVX2 (32-bit lanes).
func (f *vectorFile) mask(v vec) {
	if v.bits == 512 {
		f.op("MOVL $1, AX")
		f.op("SHLL CX, AX")
		f.op("DECL AX")
		f.op("KMOVW AX, K1")
		return
	}
	f.masks = true
	f.op("LEAQ vectorMask<>+32(SB), AX")
	f.op("SHLQ $2, CX")
	f.op("SUBQ CX, AX")
	f.op("VMOVUPS (AX), Y15")
}

// A loop is a kernel whose output elements each depend on the input elements
// of the same index alone.
type loop struct {
	name   string
	args   []arg // the output first
	scalar string
	lanes  func(v vec) int                 // elements of a vector
	unroll func(v vec) int                 // vectors of a round
	setup  func(f *vectorFile, v vec)      // loads constants
	body   func(f *vectorFile, s *section) // one vector
}

// A section is a vector's place in a loop, and the instructions made for it.
type section struct {
	v      vec
	args   []arg
	slot   int  // of the round: 0, 1, …
	first  int  // index of its first element in the round
	masked bool // by K1 or Y15
	ops    []string
}

func (s *section) op(format string, args ...any) {
	s.ops = append(s.ops, fmt.Sprintf("\t"+format+"\n", args...))
}

// mem is the vector of argument i, elements first to first+lanes.
func (s *section) mem(i int) string {
	return fmt.Sprintf("%d(%s)", s.first*s.args[i].size, pointers[i])
}

func (s *section) load(i int, reg string) {
	switch {
	case !s.masked:
		s.op("VMOVUPS %s, %s", s.mem(i), reg)
	case s.v.bits == 512:
		s.op("VMOVUPS.Z %s, K1, %s", s.mem(i), reg)
	default:
		s.op("VMASKMOVPS %s, Y15, %s", s.mem(i), reg)
	}
}

func (s *section) store(reg string, i int) {
	switch {
	case !s.masked:
		s.op("VMOVUPS %s, %s", reg, s.mem(i))
	case s.v.bits == 512:
		s.op("VMOVUPS %s, K1, %s", reg, s.mem(i))
	default:
		s.op("VMASKMOVPS %s, Y15, %s", reg, s.mem(i))
	}
}

func (l loop) write(f *vectorFile, v vec) {
	f.begin(v.name(l.name), l.args, l.scalar, "")
	if l.scalar != "" {
		f.op("VBROADCASTSS %s+%d(FP), %s", l.scalar, 8*len(l.args)+8, v.reg(14))
	}
	if l.setup != nil {
		l.setup(f, v)
	}
	lanes, unroll := v.floats(), l.unroll(v)
	if l.lanes != nil {
		lanes = l.lanes(v)
	}
	if unroll > 1 {
		f.op("SUBQ $%d, CX", unroll*lanes)
		f.op("JLT rest")
		f.op("PCALIGN $32")
		f.label("round")
		l.sections(f, v, lanes, unroll, false)
		f.advance(l.args, unroll*lanes)
		f.op("SUBQ $%d, CX", unroll*lanes)
		f.op("JGE round")
		f.label("rest")
		f.op("ADDQ $%d, CX", (unroll-1)*lanes)
	} else {
		f.op("SUBQ $%d, CX", lanes)
	}
	f.op("JLT tail")
	f.op("PCALIGN $32")
	f.label("one")
	l.sections(f, v, lanes, 1, false)
	f.advance(l.args, lanes)
	f.op("SUBQ $%d, CX", lanes)
	f.op("JGE one")
	f.label("tail")
	f.op("ADDQ $%d, CX", lanes)
	f.op("JZ done")
	f.mask(v)
	l.sections(f, v, lanes, 1, true)
	f.label("done")
	f.op("VZEROUPPER")
	f.op("RET")
}

// sections writes count vectors, their instructions interleaved so that the
// long chains of one hide in the others'.
func (l loop) sections(f *vectorFile, v vec, lanes, count int, masked bool) {
	made := make([]*section, count)
	most := 0
	for i := range made {
		made[i] = &section{v: v, args: l.args, slot: i, first: i * lanes, masked: masked}
		l.body(f, made[i])
		most = max(most, len(made[i].ops))
	}
	for i := range most {
		for _, s := range made {
			if i < len(s.ops) {
				f.text.WriteString(s.ops[i])
			}
		}
	}
}

func times(n int) func(vec) int { return func(vec) int { return n } }
