package main

// Registers of the fold kernel. An orientation's eight lanes are one vector;
// the sums of the four parity classes of two orientations are Y0 to Y7.
const (
	dst     = "DI" // output of the group's next orientation, first plane
	plane   = "R8" // bytes between output planes
	src     = "SI"
	offsets = "R9"  // the group's offsets
	coefs   = "R10" // the group's coefficients, from its next orientation on
	groups  = "R11"
	row     = "R13" // bytes from a coefficient to that of the next class
	left    = "CX"  // orientations left in the group
)

// writeFold writes fold256. Offsets are [group][term][class], coefficients
// [group][term][class][orientation].
func writeFold(f *file) {
	f.raw("// func fold256(dst *float32, plane int, src *float32, offsets *int32, coefs *float32, groups, terms, l int)")
	f.raw("TEXT ·fold256(SB), NOSPLIT, $0-64")
	for i, arg := range []struct{ name, reg string }{
		{"dst", dst}, {"plane", plane}, {"src", src}, {"offsets", offsets}, {"coefs", coefs}, {"groups", groups}, {"terms", "R12"}, {"l", row},
	} {
		f.op("MOVQ %s+%d(FP), %s", arg.name, 8*i, arg.reg)
	}
	f.op("SHLQ $2, %s", plane)
	f.op("SHLQ $2, %s", row)
	f.op("TESTQ %s, %s", groups, groups)
	f.op("JEQ done")
	f.raw("group:")
	f.op("MOVQ l+56(FP), %s", left)
	f.op("SUBQ $2, %s", left)
	f.op("JLT last")
	f.raw("pair:")
	orientations(f, 2)
	f.op("SUBQ $2, %s", left)
	f.op("JGE pair")
	f.raw("last:")
	f.op("ADDQ $2, %s", left)
	f.op("JEQ next")
	orientations(f, 1)
	// coefs has moved by one group's row: step over the rest of its terms.
	f.raw("next:")
	f.op("MOVQ R12, AX")
	f.op("SHLQ $2, AX")
	f.op("LEAQ (%s)(AX*4), %s", offsets, offsets)
	f.op("DECQ AX")
	f.op("IMULQ %s, AX", row)
	f.op("ADDQ AX, %s", coefs)
	f.op("DECQ %s", groups)
	f.op("JNE group")
	f.raw("done:")
	f.op("VZEROUPPER")
	f.op("RET")
}

// orientations writes the outputs of the group's next n orientations.
func orientations(f *file, n int) {
	for i := range 4 * n {
		f.op("VXORPS Y%d, Y%d, Y%d", i, i, i)
	}
	f.op("MOVQ %s, BX", offsets)
	f.op("MOVQ %s, DX", coefs)
	f.op("MOVQ R12, R15")
	f.raw("terms%d:", n)
	for class := range 4 {
		f.op("MOVLQSX %d(BX), AX", 4*class)
		f.op("VMOVUPS (%s)(AX*4), Y8", src)
		for i := range n {
			f.op("VBROADCASTSS %d(DX), Y%d", 4*i, 9+i)
			f.op("VFMADD231PS Y8, Y%d, Y%d", 9+i, 4*i+class)
		}
		f.op("ADDQ %s, DX", row)
	}
	f.op("ADDQ $16, BX")
	f.op("DECQ R15")
	f.op("JNE terms%d", n)
	for i := range n {
		at := 4 * i
		f.op("VADDPS Y%d, Y%d, Y8", at+2, at)
		f.op("VADDPS Y%d, Y%d, Y9", at+3, at+1)
		f.op("VSUBPS Y%d, Y%d, Y10", at+2, at)
		f.op("VSUBPS Y%d, Y%d, Y11", at+3, at+1)
		f.op("VADDPS Y9, Y8, Y12")
		f.op("VSUBPS Y9, Y8, Y13")
		f.op("VADDPS Y11, Y10, Y14")
		f.op("VSUBPS Y11, Y10, Y15")
		f.op("LEAQ (%s)(%s*2), AX", dst, plane)
		f.op("VMOVUPS Y12, %d(%s)", 32*i, dst)
		f.op("VMOVUPS Y13, %d(%s)(%s*1)", 32*i, dst, plane)
		f.op("VMOVUPS Y14, %d(AX)", 32*i)
		f.op("VMOVUPS Y15, %d(AX)(%s*1)", 32*i, plane)
	}
	f.op("ADDQ $%d, %s", 32*n, dst)
	f.op("ADDQ $%d, %s", 4*n, coefs)
}
