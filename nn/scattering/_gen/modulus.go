package main

// writeModulus writes modulus256, for n a positive multiple of 8.
func writeModulus(f *file) {
	f.raw("// func modulus256(dst, re, im *float32, n int)")
	f.raw("TEXT ·modulus256(SB), NOSPLIT, $0-32")
	f.op("MOVQ dst+0(FP), DI")
	f.op("MOVQ re+8(FP), SI")
	f.op("MOVQ im+16(FP), DX")
	f.op("MOVQ n+24(FP), CX")
	f.raw("loop:")
	f.op("VMOVUPS (SI), Y0")
	f.op("VMOVUPS (DX), Y1")
	f.op("VMULPS Y0, Y0, Y0")
	f.op("VFMADD231PS Y1, Y1, Y0")
	f.op("VSQRTPS Y0, Y0")
	f.op("VMOVUPS Y0, (DI)")
	f.op("ADDQ $32, SI")
	f.op("ADDQ $32, DX")
	f.op("ADDQ $32, DI")
	f.op("SUBQ $8, CX")
	f.op("JNE loop")
	f.op("VZEROUPPER")
	f.op("RET")
}
